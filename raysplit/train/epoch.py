"""One pass of the devices over their training data, in whichever mode the schedule decided on: a round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count

from raysplit.config import SplitConfig
from raysplit.schedules.base import Decision
from raysplit.train.body_side import BodySide
from raysplit.train.clock import Clock
from raysplit.train.device import Score
from raysplit.train.feed import Feed, Part
from raysplit.train.fleet import Fleet
from raysplit.train.server_side import ServerSide
from raysplit.train.shared_weights import average

StepCallback = Callable[[int, int, int, float], None]
"""Called after each step with (epoch, step, steps in the epoch, running loss)."""
Turn = Iterator[None]
"""Some devices that train in step; it yields when they are under way, and after each of their steps."""


class TrainingPass:
    """An epoch's training on both sides of the cut.

    A turn trains some devices in step. In `merged` there is one turn, of all devices; in the other modes one for each
    device: one after the other where they share one server half, in which a device's turn begins when the last one has
    ended, and side by side in `splitfed_v1`.

    Args:
        servers: one server half, or one for each device of the run (`splitfed_v1`).
        decision: how the epoch trains.
        parts: the devices that take part, in order, each with the decision at its own level.
    """

    def __init__(
        self,
        config: SplitConfig,
        fleet: Fleet,
        servers: Sequence[ServerSide],
        epoch: int,
        decision: Decision,
        parts: Sequence[Part],
        on_step: StepCallback | None,
    ):
        self._train, self._devices = config.train, config.devices
        self._fleet, self._servers, self._epoch = fleet, servers, epoch
        self._decision, self._parts, self._on_step = decision, parts, on_step
        self._each = len(servers) > 1
        steps = [part.member.steps for part in parts]
        self._steps = max(steps) if self._devices.mode == "merged" else sum(steps)
        self._done = 0
        self._numbers = {
            id(server): count(epoch * server.epoch_steps * self._train.in_flight) for server in self._servers
        }

    def run(self) -> None:
        """Train in the decision's mode; the parts have the scores and the costs.

        A pass in mode `cached` does not call the devices at all.
        """
        mode, decision = self._decision.mode, self._decision
        if mode != "cached":
            self._begin()
        fresh = decision.fresh_optimizer or (self._each and self._devices.optimizer == "reset")
        for server in self._servers:
            server.begin_epoch(replace(decision, fresh_optimizer=fresh))
        if decision.hand_over:
            first = self._parts[0]
            weights = first.clock.wait_message(first.member.device.hand_over())
            first.traffic.count(weights, "up")
            self._servers[0].adopt_head(weights)
        if mode == "cached":
            self._cached()
            return
        if mode == "frozen":
            self._servers[0].cache.new_view()
        self._take_turns()
        if mode != "frozen" and self._devices.mode != "relay":
            self._average()

    def _begin(self) -> None:
        """Begin the epoch on every device, and give those that take part the common weights."""
        reset = self._devices.optimizer == "reset"
        decision, *own = [
            replace(one, fresh_optimizer=one.fresh_optimizer or reset)
            for one in (self._decision, *(part.decision for part in self._parts))
        ]
        taking = {part.member.index: mine for part, mine in zip(self._parts, own, strict=True)}
        calls = self._fleet.begin(self._epoch, decision, taking)
        for part in self._parts:
            if part.member.index in calls:
                part.clock.wait(calls[part.member.index])
        if self._devices.mode != "relay" or self._decision.mode == "frozen":
            self._fleet.hand((part.member, part.traffic, part.clock) for part in self._parts)

    def _take_turns(self) -> None:
        alone, relay = self._decision.mode == "alone", self._devices.mode == "relay"
        together = self._devices.mode == "merged" or (alone and not relay)
        groups = self._fleet.groups(self._parts) if alone and not relay else [list(self._parts)]
        if not together:
            groups = [[part] for part in self._parts]
        turns = [self._alone(group) if alone else self._in_step(group) for group in groups]
        if self._each:
            _side_by_side(turns)
            return
        for turn, group in zip(turns, groups, strict=True):
            if relay and self._decision.mode != "frozen":
                self._fleet.hand((part.member, part.traffic, part.clock) for part in group)
            for _ in turn:
                pass
            if relay and self._decision.mode != "frozen":
                self._collect(group)

    def _in_step(self, group: Sequence[Part]) -> Turn:
        """Train the server half on the joined micro-batches of a group, to the end of the longest part."""
        feeds = [Feed(part, self._epoch, self._train.in_flight, self._train.seed) for part in group]
        for feed in feeds:
            feed.open()
        yield
        server = self._servers[group[0].member.index if self._each else 0]
        clock = Clock() if len(group) > 1 else group[0].clock
        for step in range(max(feed.steps for feed in feeds)):
            active = [feed for feed in feeds if step < feed.steps]
            if isinstance(server, BodySide):
                self._train_between(server, active, clock)
            else:
                for _ in range(self._train.in_flight):
                    self._train_micro_batch(server, active, clock)
            self._notify([feed.part for feed in active])
            for feed in active:
                feed.settle()
            yield
        if len(group) > 1:
            for part in group:
                part.clock.server += clock.server / len(group)

    def _train_micro_batch(self, server: ServerSide, active: Sequence[Feed], clock: Clock) -> None:
        micros = [feed.receive() for feed in active]
        number = next(self._numbers[id(server)])
        if self._decision.mode == "joint":
            with clock:
                answers = server.train_step(number, micros)
            for feed, (gradient, score) in zip(active, answers, strict=True):
                feed.part.scores.append(score)
                feed.answer(gradient)
            return
        with clock:
            if self._decision.mode == "frozen":
                for micro in micros:
                    assert micro.labels is not None
                    server.cache.add(micro.activation, micro.labels)
            scores = server.train_one_way(number, micros)
        for feed, score in zip(active, scores, strict=True):
            feed.part.scores.append(score)

    def _train_between(self, server: BodySide, active: Sequence[Feed], clock: Clock) -> None:
        """Train one step of a server half between two cuts: all of its micro-batches go forward, then back."""
        numbers = []
        for _ in range(self._train.in_flight):
            micros = [feed.receive() for feed in active]
            numbers.append(next(self._numbers[id(server)]))
            with clock:
                features = server.forward(numbers[-1], micros)
            for feed, message in zip(active, features, strict=True):
                feed.pass_on(message)
        for number in numbers:
            gradients = [feed.take_gradient() for feed in active]
            with clock:
                answers = server.backward(number, gradients)
            for feed, gradient in zip(active, answers, strict=True):
                feed.answer(gradient)

    def _alone(self, group: Sequence[Part]) -> Turn:
        """Let the devices of a group train on their own loss."""
        yield
        for step in range(max(part.member.steps for part in group)):
            active = [part for part in group if step < part.member.steps]
            calls = [part.member.device.train_alone() for part in active]
            for part, call in zip(active, calls, strict=True):
                part.scores.append(part.clock.wait_score(call))
            self._notify(active)
            yield

    def _cached(self) -> None:
        """Train on what the server has cached, of all devices together."""
        server, first = self._servers[0], self._parts[0]
        k = self._train.in_flight
        with first.clock:
            for index, score in enumerate(server.train_from_cache(self._epoch, next(self._numbers[id(server)]))):
                first.scores.append(score)
                if index % k == k - 1:
                    self._notify([first])

    def _average(self) -> None:
        """Average the device halves and, where there is one for each device, the server halves."""
        self._collect(self._parts)
        self._fleet.hand((part.member, part.traffic, part.clock) for part in self._parts)
        if self._each and self._decision.mode != "alone":
            with self._parts[0].clock:
                halves = [self._servers[part.member.index].weights() for part in self._parts]
                common = average(halves, self._fleet.weigh([_samples(part) for part in self._parts]))
                for server in self._servers:
                    server.adopt(common)

    def _collect(self, parts: Sequence[Part]) -> None:
        giving = [(part.member, part.traffic, part.clock) for part in parts]
        self._fleet.collect(giving, [_samples(part) for part in parts])

    def _notify(self, parts: Sequence[Part]) -> None:
        """Report one step of the server."""
        self._done += 1 if self._devices.mode == "merged" else len(parts)
        if self._on_step is not None:
            scores: list[Score] = [part.scores[-1] for part in parts]
            loss = sum(score.loss for score in scores) / sum(score.count for score in scores)
            self._on_step(self._epoch, self._done, self._steps, loss)


def _samples(part: Part) -> int:
    """Return on how many samples a device has trained."""
    return sum(score.count for score in part.scores)


def _side_by_side(turns: Sequence[Turn]) -> None:
    """Take a step of each turn after the other: while the server serves one device, the others work."""
    going = list(turns)
    while going:
        going = [turn for turn in going if next(turn, turn) is None]
