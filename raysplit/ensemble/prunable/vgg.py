"""A VGG, spiking or not, and the smaller ones inside it (after EC-SNN, IJCAI 2024; docs/ensembles.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from raysplit.config import ModelConfig
from raysplit.ensemble.prunable.head import class_rows
from raysplit.models import VGG, build

_FLOOR = 16
"""EC-SNN keeps at least this many filters of a convolution."""


class PrunableVGG:
    """A base VGG or SpikingVGG, and its groups of units.

    A group has the name of the layer that computes it: `features.I` are the filters of a convolution and
    `classifier.I` the units of the hidden layer. A unit that is off has no activation: zeros or, at all time
    steps, no spikes. A net that keeps k/16 keeps k/16 of each group, rounded, but 16 units where there are as many.
    """

    steps = 16

    def __init__(self, model: Any, shape: tuple[int, int, int]):
        self.kind: Literal["cnn", "snn"] = "cnn" if isinstance(model, VGG) else "snn"
        self.model = model.eval()
        self.shape = shape
        self._activations: dict[str, nn.Module] = {}
        """Of each group."""
        self._ends: dict[str, tuple[str, str | None]] = {}
        """The group, or the head, that a layer's rows belong to; the group that its columns do (None: no group)."""
        group = None
        for part in ("features", "classifier"):
            for place, layer in self.model.get_submodule(part).named_children():
                name = f"{part}.{place}"
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    self._ends[name] = name, group
                    group = name
                elif group and isinstance(layer, self.model.activation):
                    self._activations[group] = layer
                elif group:
                    self._ends[name] = group, None
        assert group is not None
        self._head = group

    def units(self) -> dict[str, int]:
        """Return the filters of each convolution and the hidden units, by group, in the network's order."""
        return {group: len(self.model.get_submodule(group).weight) for group in self._activations}

    def axis(self, group: str) -> int:
        """Return the dimension of a group's units in its activations: maps (…, units, H, W), or (…, units)."""
        return -3 if isinstance(self.model.get_submodule(group), nn.Conv2d) else -1

    @contextmanager
    def watched(self, watch: Callable[[str, Tensor], Tensor | None]) -> Iterator[None]:
        """Call `watch(group, activations)` as the model computes them; what it returns takes their place."""

        def hook(group: str, layer: nn.Module, inputs: Any, activations: Tensor) -> Tensor | None:
            return watch(group, activations)

        hooks = [layer.register_forward_hook(partial(hook, group)) for group, layer in self._activations.items()]
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()

    def masked(self, x: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Return the base's logits (B, classes) with units switched off, as `Family.masked`.

        Of a spiking net the gradient is the surrogate's.
        """

        def switch(group: str, activations: Tensor) -> Tensor | None:
            if group not in masks:
                return None
            return activations * (masks[group] if self.axis(group) == -1 else masks[group][..., None, None])

        with self.watched(switch):
            return self.model(x)

    def choose(self, scores: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
        """Return the units to keep, as `Family.choose`."""
        counts = self._counts(k)
        return {
            group: score.argsort(descending=True, stable=True)[: counts[group]].sort().values
            for group, score in scores.items()
        }

    def geometry(self, k: int) -> ModelConfig:
        """Return the same VGG with fewer channels and hidden units, as `Family.geometry`."""
        *channels, hidden = self._counts(k).values()
        own = {"dropout": self.model.classifier[0].p} if self.kind == "cnn" else {"steps": self.model.steps}
        return ModelConfig(name=self.model.name, args={"channels": channels, "hidden": hidden, **own})

    def shrink(self, kept: Mapping[str, Tensor], k: int, classes: Sequence[int] | None, rest: bool) -> nn.Module:
        """Return the VGG of `geometry(k)` with the weights and batch statistics of the kept units, as `Family.shrink`.

        The classifier's hidden layer is sliced like the convolutions (EC-SNN starts it anew).
        """
        state = {name: self._cut(name, tensor, kept) for name, tensor in self.model.state_dict().items()}
        state |= {name: class_rows(state[name], classes, rest) for name in state if name.startswith(f"{self._head}.")}
        with torch.device("meta"):
            small = build(self.geometry(k), len(state[f"{self._head}.weight"]), self.shape)
        small.load_state_dict(state, assign=True)
        return small

    def _counts(self, k: int) -> dict[str, int]:
        return {group: max(min(_FLOOR, count), round(count * k / self.steps)) for group, count in self.units().items()}

    def _cut(self, name: str, tensor: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
        """Return the kept rows and columns of a parameter or buffer of the base, as a copy."""
        rows, columns = self._ends[name.rpartition(".")[0]]
        if tensor.ndim and rows in kept:
            tensor = tensor[kept[rows].to(tensor.device)]
        if tensor.ndim > 1 and columns is not None and columns in kept:
            tensor = tensor[:, kept[columns].to(tensor.device)]
        return tensor.clone()
