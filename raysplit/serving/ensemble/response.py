"""What `/v1/predict` answers: names, probabilities, what was missing and where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from raysplit.config import Frozen
from raysplit.ensemble.manifest import EnsembleManifest
from raysplit.serving.ensemble.engine import FusedPrediction
from raysplit.serving.ensemble.fan_out import Reason
from raysplit.serving.oip.protocol import ServedModel

OTHERS = "others"
"""What a sub-model calls all classes that it does not know."""


class ClassProbability(Frozen):
    """A class and how likely it is."""

    name: str
    probability: float


class SubmodelVote(Frozen):
    """What one sub-model alone takes an image for: a class of its own, or `others`."""

    submodel: int
    name: str
    probability: float


class ImagePrediction(Frozen):
    """The answer for one image."""

    file: str | None
    top: tuple[ClassProbability, ...]
    """Likeliest first."""
    submodels: tuple[SubmodelVote, ...]


class BranchTime(Frozen):
    """Where the time of one deployment of sub-models went, in seconds."""

    deployment: str
    submodels: tuple[int, ...]
    transfer: float
    queue: float
    """Behind other batches in its replica."""
    compute: tuple[float, ...]
    """Of each of `submodels`, one after the other; none where they are missing."""
    missing: Reason | None


class Seconds(Frozen):
    """Where the time of a request went. A batch may be of several requests: what it took counts for each."""

    decode: float
    queue: float
    """Until the batch's turn came."""
    branches: tuple[BranchTime, ...]
    fusion: float
    total: float


class Prediction(Frozen):
    """The answer to `/v1/predict`."""

    model: str
    bundle: str
    """First twelve hex digits of the id of the one bundle that answered."""
    degraded: bool
    """Some sub-models did not answer and their features were filled in."""
    missing: tuple[int, ...]
    """These."""
    images: tuple[ImagePrediction, ...]
    seconds: Seconds


def prediction(
    served: ServedModel,
    about: EnsembleManifest,
    groups: Mapping[str, tuple[int, ...]],
    answer: FusedPrediction,
    files: Sequence[str | None],
    top: int,
    times: tuple[float, float],
) -> Prediction:
    """Return an answer as the wire has it.

    `groups` are the sub-models of each deployment, `files` the names of the images; `times` are the seconds until
    images were decoded and until all was done.
    """
    branches = tuple(
        BranchTime(
            deployment=one.name,
            submodels=groups[one.name],
            transfer=one.transfer,
            queue=one.waited,
            compute=tuple(said.seconds for said in one.said),
            missing=one.reason,
        )
        for one in answer.heard
    )
    decode, total = times
    return Prediction(
        model=served.name,
        bundle=served.version,
        degraded=bool(answer.missing),
        missing=tuple(answer.missing),
        images=tuple(_seen(about, answer, row, file, top) for row, file in enumerate(files)),
        seconds=Seconds(decode=decode, queue=answer.queue_s, branches=branches, fusion=answer.fusion_s, total=total),
    )


def _seen(about: EnsembleManifest, answer: FusedPrediction, row: int, file: str | None, top: int) -> ImagePrediction:
    probabilities = answer.probabilities[row]
    best = np.argsort(-probabilities, kind="stable")[:top]
    named = tuple(
        ClassProbability(name=about.classes[index], probability=float(probabilities[index])) for index in best
    )
    return ImagePrediction(
        file=file, top=named, submodels=tuple(_says(about, index, own[row]) for index, own in answer.own.items())
    )


def _says(about: EnsembleManifest, index: int, own: np.ndarray) -> SubmodelVote:
    part, best = about.submodels[index], int(own.argmax())
    known = best - part.rest
    name = OTHERS if known < 0 else about.classes[part.classes[known]]
    return SubmodelVote(submodel=index, name=name, probability=float(own[best]))
