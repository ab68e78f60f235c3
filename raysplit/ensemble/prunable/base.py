"""One interface to the kinds of networks that sub-models can be cut out of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from raysplit.config import ModelConfig
from raysplit.ensemble.prunable.vgg import PrunableVGG
from raysplit.ensemble.prunable.vit import PrunableViT
from raysplit.errors import ModelError
from raysplit.models import VGG
from raysplit.records.ensemble_summary import NetworkKind
from raysplit.split.tracer import model_name


class PrunableNetwork(Protocol):
    """A trained base network, the groups of units that can be removed from it, and the smaller networks that remain."""

    size_steps: int
    """h: a smaller network keeps the share k/h of each group, k = 1..h."""

    @property
    def kind(self) -> NetworkKind: ...

    @property
    def model(self) -> nn.Module:
        """The base, put into eval mode; its weights are never changed."""
        ...

    def units(self) -> dict[str, int]:
        """Return the number of removable units of each group, by the group's name, in the network's order."""
        ...

    def forward_masked(self, x: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Return the base's logits (B, classes) for normalized images x (B, C, H, W) with units switched off.

        A mask is float, (units,) or (B, units), 1 for on and 0 for off; a group without one is all on. The result is
        that of a network without the units, and it is differentiable in the masks.
        """
        ...

    def select_units(self, scores: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
        """Return the units of each group to keep, int64 and ascending: those with the highest scores (units,)."""
        ...

    def geometry(self, k: int) -> ModelConfig:
        """Return the config from which `models.build` makes the network that keeps k/h."""
        ...

    def shrink(self, kept: Mapping[str, Tensor], k: int, classes: Sequence[int] | None, rest: bool) -> nn.Module:
        """Return the network of `geometry(k)` with the base's weights of the kept units.

        Its head has an output for each of `classes`, in this order (None: all of the base's). With `rest` a first
        output for all other classes is added, with the mean of their rows of the base's head.
        """
        ...


def prunable_network(model: nn.Module, shape: tuple[int, int, int]) -> PrunableNetwork:
    """Return the interface to a trained network for images of `shape` (C, H, W).

    Raises ModelError for a network that is neither a timm VisionTransformer nor one of our VGGs, spiking or not,
    and for a VisionTransformer with parts that cannot be sliced.

    >>> from raysplit.models import build
    >>> args = {"patch": 4, "width": 12, "depth": 1, "heads": 3}
    >>> model = build(ModelConfig(name="vit", args=args), classes=3, shape=(1, 8, 8))
    >>> prunable_network(model, (1, 8, 8)).units()
    {'width': 12, 'blocks.0.attn': 12, 'blocks.0.ffn': 48}
    """
    if isinstance(model, VisionTransformer):
        return PrunableViT(model, shape)
    spiking = type(model).__module__ == "raysplit.models.spiking"  # importing it needs SpikingJelly
    if isinstance(model, VGG) or spiking:
        return PrunableVGG(model, shape)
    raise ModelError(
        f"sub-models cannot be cut out of {model_name(model)}: use a timm ViT (vit, vit_tiny_patch16_224, …), "
        "vgg5, …, or spiking_vgg5, …"
    )
