"""What a device of a run holds of the network, and the optimizer that trains it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from raysplit.config import SplitConfig
from raysplit.torch_utils.compute import pick_device
from raysplit.torch_utils.optim import HalfOptimizer
from raysplit.train.device_parts import DeviceParts
from raysplit.train.divergence import require_finite_weights
from raysplit.train.shared_weights import SharedWeights


def device_weights(config: SplitConfig, state: Mapping[str, Any]) -> dict[str, dict[str, torch.Tensor]]:
    """Return the weights in a device's state by the name of their file in a run's folder."""
    if config.devices.mode == "fedavg":
        return {"device": state["half"], "server": state["head"]}
    found = {"device": state["half"], "head": state["head"], "tail": state.get("tail")}
    return {name: part for name, part in found.items() if part is not None}


class DeviceNetwork:
    """The device half with, as the run has them, a local head, all other layers (`fedavg`) or those after a second cut.

    Args:
        parts: what was built of it, which is trained.
        steps: optimizer steps in an epoch, for the learning-rate schedule.
    """

    def __init__(self, config: SplitConfig, parts: DeviceParts, steps: int):
        self._torch_device, self._last = pick_device(config.train.device), config.train.channels_last
        built = parts.built
        self.cut, self.back, self.weights = built.cut, built.back, built.weights
        self.half = self._place(built.half)
        self.head: nn.Module | None = None if parts.head is None else parts.head.to(self._torch_device)
        if self.head is not None and config.devices.mode == "fedavg":
            self.head = self._place(self.head)
        self.tail = None if built.tail is None else self._place(built.tail)
        # The half's parameters come first, so that the optimizer's state has the same layout with it alone.
        others = [part for part in (self.head, self.tail) if part is not None]
        self.trained: nn.Module = nn.ModuleList([self.half, *others]) if others else self.half
        paper = config.bottleneck is not None and config.bottleneck.mode == "paper"
        fit = config.train.replaced(lr=config.train.device_lr or config.train.lr)
        self.optimizer = HalfOptimizer(self.trained, fit, steps * fit.epochs, paper)
        averaged, shared = config.devices.batch_norm == "averaged", config.devices.optimizer == "shared"
        self.shared = SharedWeights(self.trained, self.optimizer, averaged, shared)

    def state(self) -> dict[str, Any]:
        """Return the weights and the optimizer's state, as a checkpoint holds them."""
        tail = {} if self.tail is None else {"tail": self.tail.state_dict()}
        head = None if self.head is None else self.head.state_dict()
        return {"half": self.half.state_dict(), "optimizer": self.optimizer.state(), "head": head, **tail}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned, to before any gradient of a step that was begun."""
        self.trained.zero_grad()
        self.half.load_state_dict(state["half"])
        self.optimizer.restore(state["optimizer"])
        if self.head is not None:
            self.head.load_state_dict(state["head"])
        if self.tail is not None:
            self.tail.load_state_dict(state["tail"])

    def require_finite(self) -> None:
        """Raise DivergenceError, without the place and the remedy, for weights or moments that are NaN or infinite."""
        require_finite_weights(self.trained, self.optimizer, "device")

    def _place(self, part: nn.Module) -> Any:
        """Return a part of the network on the torch device, in the memory layout of the run."""
        part = part.to(self._torch_device)
        return part.to(memory_format=torch.channels_last) if self._last else part
