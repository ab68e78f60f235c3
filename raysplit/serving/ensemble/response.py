"""The JSON that `POST /v1/predict` returns: classes and probabilities, what is missing, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from raysplit.ensemble.manifest import EnsembleManifest
from raysplit.serving.ensemble.engine import FusedPrediction
from raysplit.serving.ensemble.fan_out import MissingReason
from raysplit.serving.oip.protocol import ServedModel
from raysplit.utils.frozen import Frozen
from raysplit.wire.split_api import ClassProbability

OTHERS = "others"
"""Name of a sub-model's rest class: all classes that are not its own."""


class SubmodelVote(Frozen):
    """What one sub-model alone predicts for an image or recording: a class of its own, or `others`."""

    submodel: int
    name: str
    probability: float


class ImagePrediction(Frozen):
    """The prediction for one image or recording."""

    file: str | None
    """Name of the file in the request, if it had one."""
    top: tuple[ClassProbability, ...]
    """The most likely classes, most likely first."""
    submodels: tuple[SubmodelVote, ...]


class BranchTiming(Frozen):
    """Where the time of one deployment of sub-models went, in seconds."""

    deployment: str
    submodels: tuple[int, ...]
    transfer: float
    queue: float
    """Waiting for other batches in its replica."""
    compute: tuple[float, ...]
    """Of each of `submodels`, one after the other; empty if they are missing."""
    missing: MissingReason | None


class Timing(Frozen):
    """Where the time of a request went, in seconds. A batch may hold several requests: its time counts for each."""

    decode: float
    queue: float
    """Waiting for the batch's turn."""
    branches: tuple[BranchTiming, ...]
    fusion: float
    total: float


class Prediction(Frozen):
    """Response to `POST /v1/predict`."""

    model: str
    bundle: str
    """First twelve hex digits of the id of the bundle that every part of the answer comes from."""
    degraded: bool
    """Some sub-models did not answer and their features were filled in."""
    missing: tuple[int, ...]
    """Indices of these sub-models."""
    images: tuple[ImagePrediction, ...]
    seconds: Timing


def build_response(
    model: ServedModel,
    deployments: Mapping[str, tuple[int, ...]],
    prediction: FusedPrediction,
    files: Sequence[str | None],
    top: int,
    *,
    decode_s: float,
    total_s: float,
) -> Prediction:
    """Return a prediction as the response to a request.

    Args:
        model: as its clients see it.
        deployments: indices of the sub-models in each deployment, by its name.
        prediction: for the images of the request.
        files: the filenames of the images or recordings.
        top: number of classes to list for each image.
        decode_s: seconds from the request until its images were decoded.
        total_s: seconds from the request until the prediction was there.
    """
    manifest = prediction.ensemble.manifest
    branches = tuple(
        BranchTiming(
            deployment=result.deployment,
            submodels=deployments[result.deployment],
            transfer=result.transfer_s,
            queue=result.queue_s,
            compute=tuple(output.compute_s for output in result.outputs),
            missing=result.missing,
        )
        for result in prediction.results
    )
    return Prediction(
        model=model.name,
        bundle=model.version,
        degraded=bool(prediction.missing),
        missing=tuple(prediction.missing),
        images=tuple(_describe_image(manifest, prediction, row, file, top) for row, file in enumerate(files)),
        seconds=Timing(
            decode=decode_s,
            queue=prediction.queue_s,
            branches=branches,
            fusion=prediction.fusion_s,
            total=total_s,
        ),
    )


def _describe_image(
    manifest: EnsembleManifest, prediction: FusedPrediction, row: int, file: str | None, top: int
) -> ImagePrediction:
    probabilities = prediction.probabilities[row]
    best = np.argsort(-probabilities, kind="stable")[:top]
    classes = tuple(
        ClassProbability(name=manifest.classes[index], probability=float(probabilities[index])) for index in best
    )
    votes = tuple(_make_vote(manifest, index, own[row]) for index, own in prediction.submodel_probabilities.items())
    return ImagePrediction(file=file, top=classes, submodels=votes)


def _make_vote(manifest: EnsembleManifest, index: int, probabilities: np.ndarray) -> SubmodelVote:
    part, best = manifest.submodels[index], int(probabilities.argmax())
    own_class = best - part.rest
    name = OTHERS if own_class < 0 else manifest.classes[part.classes[own_class]]
    return SubmodelVote(submodel=index, name=name, probability=float(probabilities[best]))
