"""A worker, which takes the place of one virtual device after the other, and keeps what each needs meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from raysplit.config import Level, SplitConfig
from raysplit.data import ImageSet, ShardTable
from raysplit.data.shard_table import SPLITS
from raysplit.schedules.base import Decision
from raysplit.train.device_data import DeviceData
from raysplit.train.device_parts import DeviceParts
from raysplit.train.normalization import Normalization
from raysplit.train.virtual_side import Dormant, Held, VirtualSide


class Shard(dict[str, ImageSet]):
    """What a device has of each split, loaded when it is first needed."""

    def __init__(self, table: ShardTable, device: int):
        super().__init__()
        self._table, self._device = table, device

    def __missing__(self, split: str) -> ImageSet:
        known = next(one for one in SPLITS if one == split)
        found = self[split] = self._table.load(self._device, known)
        return found


class VirtualWorker:
    """Virtual devices that share a few device sides: as many as are in the middle of their steps at the same time.

    A device that is dormant is its weights' message, which it shares with all that hold the same, and what of its
    state does not cross: the optimizer's where `devices.optimizer` is `kept`, the statistics of batch norm where they
    are `local`. Nothing is kept of a device that has not trained.
    """

    def __init__(self, config: SplitConfig, table: ShardTable, normalization: Normalization, parts: DeviceParts):
        self._config, self.table, self._parts = config, table, parts
        self.normalization = normalization
        """What all devices normalize images by."""
        self._dormant: dict[int, Dormant] = {}
        self._sides: dict[int, VirtualSide] = {}
        """Of the devices that are in place, the one that was longest untouched first."""
        self._free: list[VirtualSide] = []
        self._newest: Held | None = None
        self._turn = 0
        self._epoch, self._own = -1, dict[int, Decision]()
        self._decision = Decision(config.levels()[0], "before the first epoch")
        self._fresh = self._logits = -1
        """The last turn before this one that began with another optimizer, or other logits."""
        self._logits_epoch = -1

    def another(self) -> VirtualWorker:
        """Return a worker for other devices of the same run, on the same data."""
        return VirtualWorker(self._config, self.table, self.normalization, self._parts)

    @property
    def start_weights(self) -> str | None:
        """The sha256 of the weights that all devices start from; None: they are random."""
        return self._parts.built.weights

    def shared_bytes(self) -> int:
        """Return the bytes of the message with which a device's trained weights cross."""
        data = DeviceData(self._config, 0, Shard(self.table, 0), self.normalization)
        self._free.append(VirtualSide(self._config, data, self._parts))
        return self._free[0].describe().shared_bytes

    def begin_epoch(self, epoch: int, decision: Decision, own: Mapping[int, Decision]) -> None:
        """Begin an epoch on all devices; those that take part have a decision of their own."""
        self._vacate_all()
        self._fresh = self._turn if self._decision.fresh_optimizer else self._fresh
        if self._decision.reset_logits:
            self._logits, self._logits_epoch = self._turn, self._epoch
        self._turn += 1
        self._epoch, self._decision, self._own = epoch, decision, dict(own)

    def adopt(self, index: int, weights: bytes) -> None:
        """Let a device hold weights; those that were handed out before are outdated."""
        if self._newest is None or self._newest.message is not weights:
            if self._newest is not None:
                self._newest.message = None
            self._newest = Held(weights)
        state = self._dormant.setdefault(index, Dormant())
        state.held, state.held_turn = self._newest, self._turn
        if index in self._sides:
            self._sides[index].load(self._newest)

    def weights(self, index: int) -> bytes:
        """Return the packed weights of a device."""
        state = self._dormant.setdefault(index, Dormant())
        if index not in self._sides and state.held is not None and state.held.message is not None:
            return state.held.message
        return self.side(index).pack(state, self._turn)

    def side(self, index: int) -> VirtualSide:
        """Return the side of a device, which takes its place if it has none."""
        side = self._sides.pop(index, None)
        if side is None:
            side = self._take_place(index)
        self._sides[index] = side
        return side

    def snapshot(self) -> dict[str, Any]:
        """Return what devices have of their own, and what all start from, for a checkpoint."""
        self._vacate_all()
        own = {}
        for index, state in self._dormant.items():
            optimizer = None if self._is_fresh(index, state.trained_turn) else state.optimizer
            if optimizer is not None or state.buffers is not None:
                own[index] = {"optimizer": optimizer, "buffers": state.buffers}
        built, head = self._parts.built, self._parts.head
        return {
            "half": built.half.state_dict(),
            "head": None if head is None else head.state_dict(),
            "start": (built.weights, self.normalization),
            "own": own,
            "level": str(self._decision.level),
            "levels": {index: str(decision.level) for index, decision in self._own.items()},
        }

    def restore(self, snapshot: dict[str, Any], holders: Sequence[int], common: bytes) -> None:
        """Go back to a snapshot; `holders` hold the common weights, and other devices get some before they train."""
        self._turn = 0
        self._fresh = self._logits = -1
        weights, self.normalization = snapshot["start"]
        self._parts = replace(self._parts, built=replace(self._parts.built, weights=weights))
        self._parts.built.half.load_state_dict(snapshot["half"])
        if self._parts.head is not None:
            self._parts.head.load_state_dict(snapshot["head"])
        self._sides.clear()
        self._free.clear()
        self._dormant = {
            index: Dormant(buffers=own["buffers"], optimizer=own["optimizer"]) for index, own in snapshot["own"].items()
        }
        for index in holders:
            self.adopt(index, common)
        self._epoch, self._decision = -1, Decision(Level(snapshot["level"]), "from a checkpoint")
        self._own = {index: Decision(Level(level), "from a checkpoint") for index, level in snapshot["levels"].items()}

    def _take_place(self, index: int) -> VirtualSide:
        data = DeviceData(self._config, index, Shard(self.table, index), self.normalization)
        if not self._free:
            for idle in [one for one, side in self._sides.items() if not side.busy][:1]:
                self._vacate(idle)
        side = self._free.pop() if self._free else VirtualSide(self._config, data, self._parts)
        state, own = self._dormant.get(index, Dormant()), self._own.get(index)
        since = state.held_turn if self._config.devices.optimizer == "shared" else state.trained_turn
        side.become(data, state, self._is_fresh(index, since))
        if (drawn := self._drew_logits(index, state.held_turn)) is not None:
            side.reset_logits(drawn)
        if own is None or self._epoch < 0 or state.trained_turn == self._turn:
            side.set_decision(own or self._decision)
        else:
            side.begin_epoch(self._epoch, replace(own, fresh_optimizer=False, reset_logits=False))
        return side

    def _vacate(self, index: int) -> None:
        """Free the side of a device, and keep what it needs."""
        side = self._sides.pop(index)
        side.leave(self._dormant.setdefault(index, Dormant()), self._turn)
        self._free.append(side)

    def _vacate_all(self) -> None:
        for index in list(self._sides):
            self._vacate(index)

    def _is_fresh(self, index: int, since: int) -> bool:
        """Return whether a device has begun an epoch with another optimizer since a turn."""
        now = self._own.get(index, self._decision).fresh_optimizer
        return (now and since < self._turn) or since < self._fresh

    def _drew_logits(self, index: int, since: int) -> int | None:
        """Return the last epoch since a turn at whose beginning a device drew its logits anew."""
        now = self._own.get(index, self._decision).reset_logits
        if now and since < self._turn:
            return self._epoch
        return self._logits_epoch if since < self._logits else None
