"""What the manifest of an ensemble's bundle holds; checked, as a bundle may come from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from raysplit.config import AudioConfig, Frozen, ModelConfig, Precision
from raysplit.data.inputs import InputFormat
from raysplit.models.build import PRUNABLE

if TYPE_CHECKING:  # what is served needs nothing of a build
    from raysplit.config.ensemble_plan import SubmodelSpec
    from raysplit.ensemble.context import PlannedBuild


class SubmodelEntry(Frozen):
    """A sub-model in a bundle: what of its `SubmodelSpec` is needed to use it, its file and its features."""

    file: str
    model: ModelConfig
    classes: tuple[int, ...]
    """Its own classes, as indices into all of them."""
    rest: bool
    """Whether its head has an output for "any other class", which is then the first."""
    features: Annotated[int, Field(ge=1, le=2**20)]
    """Number of its features."""
    device: str | None

    @classmethod
    def of(cls, spec: SubmodelSpec, file: str, features: int) -> SubmodelEntry:
        """Return the entry of a planned sub-model."""
        return cls(
            file=file, model=spec.model, classes=spec.classes, rest=spec.rest, features=features, device=spec.device
        )

    @property
    def outputs(self) -> int:
        """Width of its head."""
        return len(self.classes) + self.rest

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: ModelConfig) -> ModelConfig:
        """Accept this package's networks alone: no file whose code would be run, and no library's model."""
        if model.name not in PRUNABLE:
            raise ValueError(f"'{model.name}' is not a network that sub-models can be: {', '.join(PRUNABLE)}")
        return model


class EnsembleManifest(Frozen):
    """What a bundle's manifest holds about an ensemble."""

    recipe: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height and width of the images."""
    mean: tuple[float, ...]
    """Of each channel, in 0..1; with `std`, the normalization."""
    std: tuple[Annotated[float, Field(gt=0)], ...]
    precision: Precision
    layers: Annotated[int, Field(ge=1, le=64)]
    """Of the fusion MLP."""
    fill: Literal["zero", "mean"]
    """What replaces missing features: zero or their mean."""
    submodels: tuple[SubmodelEntry, ...] = Field(alias="parts", min_length=1)
    audio: AudioConfig | None = None
    """How recordings become its images; None: they are pictures."""

    @model_serializer(mode="wrap")
    def _without_audio(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write the manifest of an ensemble for pictures as it has always been."""
        written: dict[str, Any] = write(self)
        return {key: value for key, value in written.items() if key != "audio" or value is not None}

    @property
    def input(self) -> InputFormat:
        """What it takes."""
        return InputFormat(self.shape, self.audio)

    @classmethod
    def of(cls, build: PlannedBuild) -> EnsembleManifest:
        """Return the manifest of a build whose stages are done."""
        config, widths = build.config, build.folder.fusion_record().widths
        return cls(
            recipe=config.name,
            classes=build.data.classes,
            shape=build.data.shape,
            mean=build.normalization.mean,
            std=build.normalization.std,
            precision=config.precision,
            layers=config.fusion.layers,
            fill=config.fusion.fill,
            submodels=tuple(
                SubmodelEntry.of(spec, f"submodels/{index}.safetensors", width)
                for index, (spec, width) in enumerate(zip(build.plan.submodels, widths, strict=True))
            ),
            audio=config.data.audio,
        )

    @model_validator(mode="after")
    def _check_consistency(self) -> EnsembleManifest:
        if not len(self.mean) == len(self.std) == self.shape[0]:
            raise ValueError(
                f"mean and std have {len(self.mean)} and {len(self.std)} numbers for {self.shape[0]} channels"
            )
        if self.audio is not None and self.audio.shape != self.shape:
            raise ValueError(f"audio makes images of shape {self.audio.shape}, and shape is {self.shape}")
        for entry in self.submodels:
            if unknown := [index for index in entry.classes if not 0 <= index < len(self.classes)]:
                raise ValueError(f"{entry.file} has class {unknown[0]}; the classes are 0 to {len(self.classes) - 1}")
        return self
