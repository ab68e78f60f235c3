"""The kinds of networks that sub-models can be cut out of, behind one interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from raysplit.config import ModelConfig
from raysplit.ensemble.prunable.vgg import PrunableVGG
from raysplit.ensemble.prunable.vit import PrunableViT
from raysplit.errors import ModelError
from raysplit.models import VGG
from raysplit.split.tracer import name_of


class PrunableNetwork(Protocol):
    """A trained base network, the groups of units that can be removed from it, and the smaller nets that stay."""

    steps: int
    """h: a smaller net keeps the share k/h of each group, k = 1..h."""

    @property
    def kind(self) -> Literal["vit", "cnn", "snn"]: ...

    @property
    def model(self) -> nn.Module:
        """The base, put into eval mode; its weights are never changed."""
        ...

    def units(self) -> dict[str, int]:
        """Return the number of removable units of each group, by the group's name, in the network's order."""
        ...

    def masked(self, x: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Return the base's logits (B, classes) for normalised images x (B, C, H, W) with units switched off.

        A mask is float, (units,) or (B, units), 1 for on and 0 for off; a group without one is all on. The
        result is what a net without the units gives, and it is differentiable in the masks.
        """
        ...

    def choose(self, scores: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
        """Return the units to keep of each group, int64 and ascending: the best by scores (units,), high is good."""
        ...

    def geometry(self, k: int) -> ModelConfig:
        """Return what `models.build` makes the net that keeps k/h from."""
        ...

    def shrink(self, kept: Mapping[str, Tensor], k: int, classes: Sequence[int] | None, rest: bool) -> nn.Module:
        """Return the net of `geometry(k)` with the base's weights of the kept units.

        Its head answers for `classes`, in this order (None: all of the base's), after a row for all others
        if `rest`: label 0, the mean of the other classes' rows.
        """
        ...


def prunable_network(model: nn.Module, shape: tuple[int, int, int]) -> PrunableNetwork:
    """Return the family of a trained network for images of `shape` (C, H, W).

    Raises ModelError for a network that is neither a timm VisionTransformer nor one of our VGGs, spiking or not,
    and for a VisionTransformer with parts that cannot be sliced.
    """
    if isinstance(model, VisionTransformer):
        return PrunableViT(model, shape)
    spiking = type(model).__module__ == "raysplit.models.spiking"  # importing it would need SpikingJelly
    if isinstance(model, VGG) or spiking:
        return PrunableVGG(model, shape)
    raise ModelError(
        f"sub-models cannot be cut out of {name_of(model)}: use a timm ViT (vit, vit_tiny_patch16_224, …), "
        "vgg5, …, or spiking_vgg5, …"
    )
