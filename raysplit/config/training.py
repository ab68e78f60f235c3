"""How networks are trained: what all trainings have in common, and what training across a cut adds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from raysplit.utils.frozen import Frozen

Patterns = Annotated[tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]
"""Glob patterns; one may stand alone."""


class LocalLoss(Frozen):
    """A small head on the device that trains the device half there, without gradients from the server.

    >>> LocalLoss(width=64).layers
    3
    """

    width: Annotated[int, Field(ge=1)] = 128
    """Channels of the head's layers; the last has twice as many."""
    layers: Annotated[int, Field(ge=0)] = 3
    """Convolutions (on tokens: linear layers) before the classifier."""


class FitConfig(Frozen):
    """How a network, or a half of one, is trained.

    >>> FitConfig(epochs=3).replaced(lr=0.1).lr
    0.1
    """

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 64
    optimizer: Literal["sgd", "adamw", "muon", "muon_sgd"] = "sgd"
    """muon: Muon for convolutions and for the matrices in a transformer's blocks, AdamW for everything else. muon_sgd:
    Muon for convolutions, whose norms stay fixed and whose rate is relative to them; SGD with Nesterov momentum for
    everything else."""
    lr: Annotated[float, Field(gt=0)] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of `sgd` and `muon_sgd`."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    lr_schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """How the rate falls to zero behind the warm-up, if it does."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the steps in which the rate rises linearly to `lr`; `constant` has none."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: computes under autocast; weights stay fp32."""
    channels_last: bool = False
    seed: int = 0
    device: str = "auto"
    """Torch device: `auto`, `cpu`, `cuda`, …"""


class TrainConfig(FitConfig):
    """How both halves are trained across the cut.

    >>> TrainConfig(batch_size=64, in_flight=4).epochs
    10
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target that is spread evenly over all classes while training (Szegedy et al., CVPR 2016)."""
    in_flight: Annotated[int, Field(ge=1, le=16)] = 1
    """Micro-batches of one optimizer step that may be under way at once; 1 is lock-step."""
    local_loss: LocalLoss | None = None
    """Train the device half on its own loss instead of the server's gradients."""
    device_half: Literal["trained", "frozen"] = "trained"
    """`frozen`: the network's layers on the device rest, in eval mode. Without a bottleneck nothing comes down, and
    without augmentation codes cross once at each level and are cached; with one, its encoder is trained."""
    freeze: Patterns = ()
    """Glob patterns of parameters that are not trained, by their names in the whole network: `layer1.*`, `*.bias`.
    Batch norm that is wholly frozen keeps its statistics."""
    device_lr: Annotated[float, Field(gt=0)] | None = None
    """Learning rate of the device half; None: `lr`."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Torch threads of each half under Ray; None: all cores of its node in lock-step, otherwise half of them."""

    @model_validator(mode="after")
    def _micro_batches(self) -> TrainConfig:
        if self.batch_size % self.in_flight:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of in_flight {self.in_flight}")
        return self
