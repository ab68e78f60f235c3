"""A VGG, spiking or not, and the smaller ones within it (after EC-SNN, IJCAI 2024; docs/ensembles.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from raysplit.config import ModelConfig
from raysplit.ensemble.prunable.head import class_rows
from raysplit.models import VGG, build
from raysplit.records.ensemble_summary import NetworkKind

_MIN_UNITS = 16
"""EC-SNN keeps at least this many filters of a convolution."""


class PrunableVGG:
    """A base VGG or SpikingVGG, and its groups of units.

    A group is named after the layer that computes it: `features.I` are the filters of a convolution and
    `classifier.I` the units of the hidden layer. A unit that is off has activations of zero or, at all time steps, no
    spikes. A network that keeps k/16 keeps k/16 of each group, rounded, but at least 16 units, or all there are.
    """

    size_steps = 16

    def __init__(self, model: Any, shape: tuple[int, int, int]):
        self.kind: NetworkKind = "cnn" if isinstance(model, VGG) else "snn"
        self.model = model.eval()
        self.shape = shape
        self._activations: dict[str, nn.Module] = {}
        """Activation layer of each group."""
        self._groups: dict[str, tuple[str, str | None]] = {}
        """By layer: the group, or the head, of its rows, and the group of its columns (None: the image's channels)."""
        group = None
        for part in ("features", "classifier"):
            for child, layer in self.model.get_submodule(part).named_children():
                name = f"{part}.{child}"
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    self._groups[name] = name, group
                    group = name
                elif group and isinstance(layer, self.model.activation):
                    self._activations[group] = layer
                elif group:
                    self._groups[name] = group, None
        assert group is not None
        self._head = group

    def units(self) -> dict[str, int]:
        """Return the filters of each convolution and the hidden units, by group, in the network's order."""
        return {group: len(self.model.get_submodule(group).weight) for group in self._activations}

    def unit_dim(self, group: str) -> int:
        """Return the dimension of a group's units in its activations, (…, units, H, W) or (…, units)."""
        return -3 if isinstance(self.model.get_submodule(group), nn.Conv2d) else -1

    @contextmanager
    def watch_activations(self, watch: Callable[[str, Tensor], Tensor | None]) -> Iterator[None]:
        """Call `watch(group, activations)` as the model computes them; what it returns, if not None, replaces them."""

        def hook(group: str, layer: nn.Module, inputs: Any, activations: Tensor) -> Tensor | None:
            return watch(group, activations)

        hooks = [layer.register_forward_hook(partial(hook, group)) for group, layer in self._activations.items()]
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()

    def forward_masked(self, x: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Return the base's logits (B, classes) with units switched off, see `PrunableNetwork.forward_masked`.

        The gradient of a spiking network is the surrogate's.
        """

        def switch(group: str, activations: Tensor) -> Tensor | None:
            if group not in masks:
                return None
            return activations * (masks[group] if self.unit_dim(group) == -1 else masks[group][..., None, None])

        with self.watch_activations(switch):
            logits: Tensor = self.model(x)
        return logits

    def select_units(self, scores: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
        """Return the units to keep, see `PrunableNetwork.select_units`."""
        counts = self._counts(k)
        return {
            group: score.argsort(descending=True, stable=True)[: counts[group]].sort().values
            for group, score in scores.items()
        }

    def geometry(self, k: int) -> ModelConfig:
        """Return the config of the VGG with fewer channels and hidden units, see `PrunableNetwork.geometry`."""
        *channels, hidden = self._counts(k).values()
        own = {"dropout": self.model.classifier[0].p} if self.kind == "cnn" else {"steps": self.model.steps}
        return ModelConfig(name=self.model.name, args={"channels": channels, "hidden": hidden, **own})

    def shrink(self, kept: Mapping[str, Tensor], k: int, classes: Sequence[int] | None, rest: bool) -> nn.Module:
        """Return the VGG of `geometry(k)` with the kept units' weights and batch statistics.

        See `PrunableNetwork.shrink`. The classifier's hidden layer is sliced like the convolutions (EC-SNN
        reinitializes it).
        """
        state = {name: self._slice(name, tensor, kept) for name, tensor in self.model.state_dict().items()}
        state |= {name: class_rows(state[name], classes, rest) for name in state if name.startswith(f"{self._head}.")}
        with torch.device("meta"):
            small = build(self.geometry(k), len(state[f"{self._head}.weight"]), self.shape)
        small.load_state_dict(state, assign=True)
        return small

    def _counts(self, k: int) -> dict[str, int]:
        return {
            group: max(min(_MIN_UNITS, count), round(count * k / self.size_steps))
            for group, count in self.units().items()
        }

    def _slice(self, name: str, tensor: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
        """Return the kept rows and columns of a parameter or buffer of the base, as a copy."""
        rows, columns = self._groups[name.rpartition(".")[0]]
        if tensor.ndim and rows in kept:
            tensor = tensor[kept[rows].to(tensor.device)]
        if tensor.ndim > 1 and columns is not None and columns in kept:
            tensor = tensor[:, kept[columns].to(tensor.device)]
        return tensor.clone()
