"""A device side that takes the place of one virtual device after the other."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from raysplit.config import SplitConfig
from raysplit.schedules.base import Decision
from raysplit.torch_utils.seeds import mix
from raysplit.train.clip_votes import ClipVotes
from raysplit.train.device import LocalScore, Uplink
from raysplit.train.device_data import DeviceData
from raysplit.train.device_parts import DeviceParts
from raysplit.train.device_side import DeviceSide
from raysplit.wire.message import parse


@dataclass(eq=False)
class Held:
    """Weights that virtual devices hold: a packed message, or None once no device will train with them again."""

    message: bytes | None


@dataclass(eq=False, slots=True)
class Dormant:
    """What is kept of a virtual device while no worker takes its place."""

    held: Held | None = None
    """Its weights; None: those that all start from."""
    held_turn: int = -1
    """In which turn of its worker it got them, or trained them."""
    buffers: list[torch.Tensor] | None = None
    """What of its buffers does not cross; None: as all start."""
    optimizer: dict[str, Any] | None = None
    """Momentum and moments, where they are kept; None: none yet."""
    trained_turn: int = -1
    """In which turn it trained last."""
    votes: ClipVotes | None = None
    """Of an evaluation pass over recordings that is under way."""


class VirtualSide(DeviceSide):
    """A device side whose data, weights and optimizer are those of one virtual device at a time.

    Args:
        data: of the first device whose place it takes.
        parts: the network that all devices start from, which is copied.
    """

    def __init__(self, config: SplitConfig, data: DeviceData, parts: DeviceParts):
        super().__init__(config, data=data, parts=deepcopy(parts))
        local, counts = config.devices.batch_norm == "local", _batch_counts(self._trained)
        self._counts = [(count, count.clone()) for count in counts]
        self._buffers = [
            one
            for one in self._trained.buffers()
            if (local or not one.is_floating_point()) and not any(one is count for count in counts)
        ]
        """Those that do not cross, and that what is computed depends on."""
        self._first = [buffer.clone() for buffer in self._buffers]
        stateless = config.train.optimizer == "sgd" and not config.train.momentum
        self._kept = config.devices.optimizer == "kept" and not stateless
        self._shared_moments = config.devices.optimizer == "shared"
        self._moments: dict[str, Any] | None = None
        self._has_moments = True
        self._initial = Held(self._shared.pack().to_bytes())
        self._holds: Held | None = self._initial
        self._changed = False
        self._finite: Held | None = None
        """Weights that were found to be finite."""

    @property
    def busy(self) -> bool:
        """Whether its device is in the middle of its steps, so that no other can have its place."""
        numbers = self._data.micro_batches
        return bool(self._pending) or numbers.start < self._next < numbers.stop

    def become(self, data: DeviceData, state: Dormant, fresh: bool) -> None:
        """Take the place of another device, which has `data` and is in `state`; `fresh`: without its moments."""
        self._data, self._seed, self._steps = data, data.seed, data.steps
        if self._own is not None:
            self._own.seed = data.seed
        self._next = data.first
        self._pending.clear()
        self._votes = state.votes or ClipVotes(None)
        self.load(state.held or self._initial)
        with torch.no_grad():
            for buffer, value in zip(self._buffers, state.buffers or self._first, strict=True):
                buffer.copy_(value)
        if not self._shared_moments:
            self._moments, self._has_moments = None if fresh else state.optimizer, False
        elif fresh:
            self._optimizer.reset()
            self._holds = None
        self._changed = False

    def load(self, held: Held) -> None:
        """Take weights, unless it has them."""
        if held is self._holds:
            return
        assert held.message is not None, "weights that no device should need any more"
        with self._timing():
            self._shared.load(parse(held.message))
        self._holds = held

    def leave(self, state: Dormant, turn: int) -> None:
        """Write down in `state` what becomes of its device when it leaves its place."""
        state.votes = self._votes if self._data.sets["val"].clips is not None else None
        if not self._changed:
            return
        state.trained_turn = turn
        self.pack(state, turn)
        changed = any(not torch.equal(one, first) for one, first in zip(self._buffers, self._first, strict=True))
        state.buffers = [buffer.clone() for buffer in self._buffers] if changed else None
        if self._kept:
            state.optimizer = self._optimizer.state()

    def pack(self, state: Dormant, turn: int) -> bytes:
        """Return the weights message of its device, and write down in `state` that it holds those."""
        if self._holds is None:
            self._holds = state.held = Held(self.weights())
            state.held_turn = turn
        assert self._holds.message is not None
        return self._holds.message

    def set_decision(self, decision: Decision) -> None:
        """Evaluate at the level of a decision."""
        self._decision = decision

    def reset_logits(self, epoch: int) -> None:
        """Draw the logits of the bottleneck anew, as those of all devices at the beginning of an epoch."""
        if self._half.encoder is not None:
            self._half.encoder.reset_logits(torch.Generator().manual_seed(mix(self._train.seed, "logits", epoch)))
            self._holds = None

    def forward(self) -> Uplink:
        self._touch()
        return super().forward()

    def backward(self, gradient: bytes) -> None:
        self._touch()
        super().backward(gradient)

    def train_alone(self) -> LocalScore:
        self._touch()
        return super().train_alone()

    def state(self) -> bytes:
        self._take_moments()
        for count, first in self._counts:  # they are of all devices whose place it took
            count.copy_(first)
        return super().state()

    def restore(self, packed: bytes) -> None:
        self._take_moments()
        super().restore(packed)
        self._changed, self._holds = True, None

    def _require_finite(self) -> None:
        if self._holds is None or self._holds is not self._finite:
            super()._require_finite()
            self._finite = self._holds

    def _touch(self) -> None:
        """Note that its device is about to train."""
        if self._decision.mode != "frozen":
            self._take_moments()
            self._changed, self._holds = True, None

    def _take_moments(self) -> None:
        """Give the optimizer what its device has kept: not before it trains."""
        if self._has_moments:
            return
        # The old optimizer's tensors are kept elsewhere.
        self._optimizer.reset()
        if self._moments is not None:
            self._optimizer.restore(self._moments)
        self._moments, self._has_moments = None, True


def _batch_counts(module: nn.Module) -> list[torch.Tensor]:
    """Return the counts of batches that batch norm keeps, and does not depend on."""
    return [
        one.num_batches_tracked
        for one in module.modules()
        if isinstance(one, nn.modules.batchnorm._NormBase)
        and one.num_batches_tracked is not None
        and one.momentum is not None
    ]
