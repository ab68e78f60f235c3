"""An ensemble as a bundle: a file for each sub-model, one for the fusion, and everything needed to use them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from raysplit.config import describe
from raysplit.data.batches import prepare_batch
from raysplit.ensemble.forward import as_feature_classifier, average_steps
from raysplit.ensemble.fusion import Fusion
from raysplit.ensemble.manifest import EnsembleManifest
from raysplit.ensemble.weights_file import compute_dtype, set_precision, unpack
from raysplit.errors import BundleError
from raysplit.models.served import build_served
from raysplit.utils.bundle import MANIFEST, Bundle, FileEntry, open_bundle, write_bundle

if TYPE_CHECKING:  # what is served needs nothing of a build
    from raysplit.ensemble.context import PlannedBuild

KIND = "ensemble"
FUSION = "fusion.safetensors"


def write_ensemble(build: PlannedBuild) -> str:
    """Write the bundle of a build whose stages are done into its folder, and return its location."""
    from raysplit.folders.build_dir import FUSION_WEIGHTS, NetworkFiles  # imports the configs of builds

    manifest, folder = EnsembleManifest.of(build), build.folder
    files = {FUSION: folder.read(FUSION_WEIGHTS)}
    for index, entry in enumerate(manifest.submodels):
        files[entry.file] = folder.read(NetworkFiles.submodel(index).weights)
    return write_bundle(folder.bundle_location, KIND, manifest.model_dump(mode="json", by_alias=True), files)


def load_ensemble(location: str, submodels: Collection[int] | None = None, fusion: bool = True) -> Ensemble:
    """Open an ensemble's bundle by path or URI and check every hash; weights are loaded when they are needed.

    With the indices of `submodels`, only their files are needed and checked, and without `fusion` not that one's; None:
    all.

    Raises BundleError for a bundle of another kind, and for damaged, missing or contradictory files.

    >>> ensemble = load_ensemble("build/bundle")
    >>> ensemble.predict(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), missing=[1]).shape
    torch.Size([1, 10])
    """

    def select(about: Mapping[str, object]) -> list[str]:
        entries = enumerate(_parse(about, location).submodels)
        files = [entry.file for index, entry in entries if submodels is None or index in submodels]
        return [*files, FUSION] if fusion else files

    bundle = open_bundle(location, KIND, select=None if submodels is None and fusion else select)
    return Ensemble(bundle, _parse(bundle.about, location))


def _parse(about: Mapping[str, object], location: str) -> EnsembleManifest:
    try:
        return EnsembleManifest.model_validate(about)
    except ValidationError as err:
        raise BundleError(
            f"{MANIFEST} of ensemble '{location}' is malformed: {describe(err)}; write it again"
        ) from None


@dataclass(frozen=True)
class SubmodelPrediction:
    """What one sub-model computes for some images."""

    features: Tensor
    """(B, features), in its compute dtype: the fusion's input."""
    probabilities: Tensor
    """float32 (B, outputs): of "any other class" first, if it has such an output, and of its own classes."""


class Ensemble:
    """An ensemble from a bundle: its sub-models one by one, the fusion, and the prediction of all of them."""

    def __init__(self, bundle: Bundle, manifest: EnsembleManifest):
        self.manifest, self._bundle = manifest, bundle
        self._loaded: dict[int, nn.Module] = {}

    @property
    def id(self) -> str:
        """sha256 of the canonical manifest, in hex."""
        return self._bundle.id

    @property
    def location(self) -> str:
        """The path or URI it was opened by."""
        return self._bundle.location

    @property
    def files(self) -> Mapping[str, FileEntry]:
        """What the bundle's manifest records about each file, by name."""
        return self._bundle.files

    def submodel(self, index: int) -> nn.Module:
        """Return a sub-model in eval mode, in the dtype that its precision computes in; loaded once.

        Raises BundleError for a file that does not fit the manifest.
        """
        if index not in self._loaded:
            entry = self.manifest.submodels[index]
            with self._fitting(entry.file) as weights:
                model = build_served(entry.model, entry.outputs, self.manifest.shape, weights)
            self._loaded[index] = set_precision(model, self.manifest.precision)
        return self._loaded[index]

    @cached_property
    def fusion(self) -> Fusion:
        """The fusion MLP, float32, in eval mode."""
        widths = [entry.features for entry in self.manifest.submodels]
        fusion = Fusion(widths, len(self.manifest.classes), self.manifest.layers, self.manifest.fill)
        with self._fitting(FUSION) as weights:
            fusion.load_state_dict(weights)
        return fusion.eval()

    def normalize(self, images: Tensor) -> Tensor:
        """Return uint8 images (B, C, H, W) as the sub-models' input: normalized, in their compute dtype."""
        x = prepare_batch(images, self.manifest.mean, self.manifest.std, "none", 0)
        return x.to(compute_dtype(self.manifest.precision))

    @torch.no_grad()
    def predict_submodel(self, index: int, x: Tensor) -> SubmodelPrediction:
        """Return the features and probabilities of one sub-model for normalized images (B, C, H, W)."""
        network = as_feature_classifier(self.submodel(index))
        z = network.forward_features(x)
        logits = average_steps(network.forward_head(z).float())
        return SubmodelPrediction(network.forward_head(z, pre_logits=True), logits.softmax(1))

    @torch.no_grad()
    def fuse(self, features: Sequence[Tensor | None]) -> Tensor:
        """Return probabilities (B, classes), float32, from the features of each sub-model.

        None stands for a missing sub-model, whose features are filled in; at least one must not be missing.
        """
        count = next(len(one) for one in features if one is not None)
        filled = [
            torch.zeros(count, entry.features) if one is None else one.float()
            for one, entry in zip(features, self.manifest.submodels, strict=True)
        ]
        present = torch.tensor([one is not None for one in features])
        probabilities: Tensor = self.fusion(torch.cat(filled, 1), present).softmax(1)
        return probabilities

    @torch.no_grad()
    def predict(self, images: Tensor, missing: Sequence[int] = ()) -> Tensor:
        """Return probabilities (B, classes), float32, for uint8 images (B, C, H, W).

        Sub-models in `missing` are not run; the fusion fills in their features.
        """
        x = self.normalize(images)
        return self.fuse(
            [
                None if index in missing else self.predict_submodel(index, x).features
                for index in range(len(self.manifest.submodels))
            ]
        )

    @contextmanager
    def _fitting(self, file: str) -> Iterator[dict[str, Tensor]]:
        """Yield the weights in a file, to be loaded; BundleError if they do not fit."""
        weights = unpack(self._bundle.path(file).read_bytes(), file)
        try:
            yield weights
        except RuntimeError as err:
            reason = " ".join(str(err).split())
            raise BundleError(
                f"{file} of ensemble '{self._bundle.location}' does not fit its {MANIFEST}: {reason}; write it again"
            ) from None
