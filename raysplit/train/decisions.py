"""How each device of a run trains its next epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import EpochRecord
from raysplit.schedules.base import Decision, History, RunContext, next_decision
from raysplit.split import Cut
from raysplit.train.clock import Clock
from raysplit.train.costs import run_context
from raysplit.train.feed import Part
from raysplit.train.fleet import Fleet, Member


class Decisions:
    """Asks the schedule: once for all devices or, where it decides by a link or a budget, for each on its own."""

    def __init__(self, config: SplitConfig, fleet: Fleet, shape: Sequence[int], channel_dim: int, back: Cut | None):
        self._config, self._fleet = config, fleet
        self.context = run_context(config, shape, channel_dim, len(fleet.facts.classes), fleet.steps, back)
        """What the schedule knows of the run, all devices together."""
        self._each = fleet.many and bool(getattr(config.schedule, "for_each_device", False))
        self._last: dict[int, Decision] = {}

    def decide(
        self, epoch: int, records: History, device_records: Sequence[DeviceRecord]
    ) -> tuple[Decision, list[Part]]:
        """Return how an epoch trains, and each device that takes part with how it does."""
        drawn = self._fleet.draw(epoch)
        if self._each:
            own = {member.index: self._decide_for(member, device_records, epoch) for member in drawn}
            decision = self._summarize(list(own.values()))
        else:
            decision = self._check(next_decision(self._config.schedule, self.context, records))
            own = {member.index: decision for member in drawn}
        self._last = {member.index: own.get(member.index, decision) for member in self._fleet.members}
        return decision, [
            Part(member, own[member.index], clock=Clock(self._config.devices.deadline_s)) for member in drawn
        ]

    def last(self, member: Member) -> Decision:
        """Return how a device trained, or would have trained, the last epoch."""
        return self._last[member.index]

    def _check(self, decision: Decision) -> Decision:
        """Return a decision that the devices' mode can follow; ConfigError for any other."""
        mode = self._config.devices.mode
        if mode == "fedavg":
            return replace(decision, mode="alone")
        if mode == "splitfed_v1" and (decision.mode in ("frozen", "cached") or decision.mixture):
            what = "a mixture of levels" if decision.mixture else f"the mode '{decision.mode}'"
            raise ConfigError(
                f"the schedule chose {what}, which needs one server half, and splitfed_v1 has one for each device; set "
                "devices.mode to splitfed_v2 or merged"
            )
        if decision.ends_level and self._config.checkpoint.device == "local":
            raise ConfigError(
                "the schedule keeps the network of a level with the run, and checkpoint.device=local leaves the device "
                "half on the device; set checkpoint.device to server"
            )
        if self._config.cut_back is not None and (decision.mode != "joint" or decision.mixture):
            what = "a mixture of levels" if decision.mixture else f"the mode '{decision.mode}'"
            raise ConfigError(
                f"the schedule chose {what}, and with cut_back both halves train jointly, at one level; leave cut_back "
                "out, or choose another schedule"
            )
        return decision

    def _decide_for(self, member: Member, records: Sequence[DeviceRecord], epoch: int) -> Decision:
        found = {record.epoch.epoch: record.epoch for record in records if record.device == member.index}
        history = [found.get(past, EpochRecord(epoch=past, level="", steps=0)) for past in range(epoch)]
        return self._check(next_decision(self._config.schedule, self._context_of(member), history))

    def _context_of(self, member: Member) -> RunContext:
        # A device sends its weights and gets the common ones; where it did not hold them, it gets them twice.
        crossings = 2 if self._config.devices.per_round is None and self._config.devices.mode != "relay" else 3
        weights = crossings * member.facts.shared_bytes if self._fleet.shares else 0
        return replace(self.context, steps=member.steps, round_bytes=weights, device=member.index)

    def _summarize(self, decisions: Sequence[Decision]) -> Decision:
        """Return the decision at the loosest level, with all levels as its reason."""
        ordered = sorted(decisions, key=lambda decision: self.context.step_bytes(decision.level), reverse=True)
        counts = Counter(str(decision.level) for decision in ordered)
        return replace(ordered[0], reason=", ".join(f"{level} on {count}" for level, count in counts.items()))
