"""An ensemble as a bundle: one file for each sub-model, one for the fusion, and all that is needed to use them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal

import torch
from pydantic import Field, ValidationError, field_validator, model_validator
from torch import Tensor, nn

from raysplit.config import EnsembleConfig, Frozen, ModelConfig, Precision, describe
from raysplit.data import prepare_batch
from raysplit.ensemble.classifier import facts_of, normalisation
from raysplit.ensemble.fusion import Fusion
from raysplit.ensemble.plan import Plan
from raysplit.ensemble.weights_file import at_precision, compute_dtype, unpack
from raysplit.errors import BundleError
from raysplit.models import OWN, build
from raysplit.utils.bundle import MANIFEST, Bundle, open_bundle, write_bundle
from raysplit.utils.storage import Folder

KIND = "ensemble"
FUSION = "fusion.safetensors"


class SubmodelEntry(Frozen):
    """One sub-model of a bundle."""

    file: str
    model: ModelConfig
    classes: tuple[int, ...]
    """Its own classes, as indices into all of them."""
    rest: bool
    """Its head's first output stands for all other classes."""
    features: Annotated[int, Field(ge=1, le=2**20)]
    """Width of its features."""
    device: str | None

    @field_validator("model")
    @classmethod
    def _ours(cls, model: ModelConfig) -> ModelConfig:
        """A bundle comes from anywhere: it may name no file whose code would be run, and no library's model."""
        if model.name not in OWN:
            raise ValueError(f"'{model.name}' is no network that sub-models are made as: {', '.join(OWN)}")
        return model


class EnsembleManifest(Frozen):
    """What the manifest says of an ensemble."""

    recipe: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height and width of the images."""
    mean: tuple[float, ...]
    """Of each channel, in 0..1; with `std`, the normalisation."""
    std: tuple[Annotated[float, Field(gt=0)], ...]
    precision: Precision
    layers: Annotated[int, Field(ge=1, le=64)]
    """Of the fusion MLP."""
    fill: Literal["zero", "mean"]
    """What stands in for missing features: zero or mean."""
    parts: Annotated[tuple[SubmodelEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> EnsembleManifest:
        if not len(self.mean) == len(self.std) == self.shape[0]:
            raise ValueError(
                f"mean and std have {len(self.mean)} and {len(self.std)} numbers for {self.shape[0]} channels"
            )
        for part in self.parts:
            if strange := [index for index in part.classes if not 0 <= index < len(self.classes)]:
                raise ValueError(
                    f"{part.file} knows class {strange[0]}, there are classes 0 to {len(self.classes) - 1}"
                )
        return self


def write_ensemble(config: EnsembleConfig, place: Folder, plan: Plan, out: str) -> str:
    """Write the bundle of a build whose stages are done, and return where it is."""
    classes, shape = facts_of(config.data)
    mean, std = normalisation(config)
    widths = json.loads(place.find("fusion/record.json") or b"{}")["widths"]
    parts = [
        SubmodelEntry(
            file=f"submodels/{index}.safetensors",
            model=seat.model,
            classes=seat.classes,
            rest=seat.rest,
            features=width,
            device=seat.device,
        )
        for index, (seat, width) in enumerate(zip(plan.seats, widths, strict=True))
    ]
    about = EnsembleManifest(
        recipe=config.name,
        classes=classes,
        shape=shape,
        mean=mean,
        std=std,
        precision=config.precision,
        layers=config.fusion.layers,
        fill=config.fusion.fill,
        parts=tuple(parts),
    )
    files = {FUSION: place.find("fusion/model.safetensors") or b""}
    files |= {part.file: place.find(f"submodels/{i}/model.safetensors") or b"" for i, part in enumerate(parts)}
    return write_bundle(out, KIND, about.model_dump(mode="json"), files)


def load_ensemble(location: str) -> Ensemble:
    """Open an ensemble by path or URI, every hash checked.

    Raises BundleError for what is not an ensemble, and for damaged, missing or contradictory files.
    """
    bundle = open_bundle(location, KIND)
    try:
        return Ensemble(bundle, EnsembleManifest.model_validate(bundle.about))
    except ValidationError as err:
        raise BundleError(
            f"{MANIFEST} of ensemble '{location}' is malformed: {describe(err)}; write it again"
        ) from None


class Ensemble:
    """An ensemble that was loaded: its sub-models one by one, the fusion, and an answer from all of them."""

    def __init__(self, bundle: Bundle, about: EnsembleManifest):
        self.about, self._bundle = about, bundle
        self._loaded: dict[int, nn.Module] = {}

    @property
    def id(self) -> str:
        """sha256 of the canonical manifest, in hex."""
        return self._bundle.id

    @property
    def location(self) -> str:
        """The path or URI that it was opened by."""
        return self._bundle.location

    def submodel(self, index: int) -> nn.Module:
        """Return a sub-model in eval mode, in the dtype that its precision computes in; loaded once.

        Raises BundleError for a file that does not fit the manifest.
        """
        if index not in self._loaded:
            part = self.about.parts[index]
            model = build(part.model, len(part.classes) + part.rest, self.about.shape)
            self._fill(model, part.file)
            self._loaded[index] = at_precision(model, self.about.precision)
        return self._loaded[index]

    @cached_property
    def fusion(self) -> Fusion:
        """The fusion MLP, float32, in eval mode."""
        widths = [part.features for part in self.about.parts]
        fusion = Fusion(widths, len(self.about.classes), self.about.layers, self.about.fill)
        self._fill(fusion, FUSION)
        return fusion.eval()

    def normalised(self, images: Tensor) -> Tensor:
        """Return uint8 images (B, C, H, W) as the sub-models want them."""
        x = prepare_batch(images, self.about.mean, self.about.std, "none", 0)
        return x.to(compute_dtype(self.about.precision))

    @torch.no_grad()
    def answers(self, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a sub-model sends to the fusion, (B, features), and its own probabilities, for normalised images.

        Those are float32 (B, outputs): of its classes, after that of all others if it has a rest class.
        """
        model = self.submodel(index)
        z = model.forward_features(x)  # type: ignore[operator]
        logits = model.forward_head(z).float()  # type: ignore[operator]
        logits = logits.mean(0) if logits.dim() == 3 else logits
        return model.forward_head(z, pre_logits=True), logits.softmax(1)  # type: ignore[operator]

    @torch.no_grad()
    def fuse(self, features: Sequence[Tensor | None]) -> Tensor:
        """Return probabilities (B, classes), float32, from the features of each sub-model.

        None stands for a sub-model that is missing, whose features are filled in; at least one is there.
        """
        count = next(len(found) for found in features if found is not None)
        filled = [
            torch.zeros(count, part.features) if found is None else found.float()
            for found, part in zip(features, self.about.parts, strict=True)
        ]
        present = torch.tensor([found is not None for found in features])
        return self.fusion(torch.cat(filled, 1), present).softmax(1)

    @torch.no_grad()
    def predict(self, images: Tensor, missing: Sequence[int] = ()) -> Tensor:
        """Return probabilities (B, classes), float32, for uint8 images (B, C, H, W).

        Sub-models in `missing` are not asked; the fusion fills in their features.
        """
        x = self.normalised(images)
        return self.fuse(
            [None if index in missing else self.answers(index, x)[0] for index in range(len(self.about.parts))]
        )

    def _fill(self, model: nn.Module, file: str) -> None:
        try:
            model.load_state_dict(unpack(self._bundle.path(file).read_bytes(), file))
        except RuntimeError as err:
            reason = " ".join(str(err).split())
            raise BundleError(
                f"{file} of ensemble '{self._bundle.location}' does not fit its {MANIFEST}: {reason}; write it again"
            ) from None
