"""Scores the devices' validation and test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raysplit.config import TrainConfig
from raysplit.records.epoch import Mode
from raysplit.train.body_side import BodySide
from raysplit.train.clip_votes import ClipVotes
from raysplit.train.device import DeviceFacts, Score, Split, require_tail
from raysplit.train.feed import Part
from raysplit.train.fleet import Fleet
from raysplit.train.server_side import ServerSide
from raysplit.wire.message import Message, parse


@dataclass(frozen=True)
class PassResult:
    """Means over one pass; 0 where there was nothing."""

    loss: float
    accuracy: float

    @classmethod
    def of(cls, scores: Sequence[Score]) -> PassResult:
        """Return the means over some scores."""
        count = sum(score.count for score in scores)
        answers = sum(score.count if score.answers is None else score.answers for score in scores)
        if not count or not answers:
            return cls(0.0, 0.0)
        return cls(sum(score.loss for score in scores) / count, sum(score.correct for score in scores) / answers)


class Evaluation:
    """Scores a split by the server, or by the devices' local heads where they learn alone.

    While the device halves are frozen, the validation messages cross once and are cached.
    """

    def __init__(self, config: TrainConfig, fleet: Fleet, server: ServerSide):
        self._config, self._fleet, self._server = config, fleet, server

    def run(self, split: Split, parts: Sequence[Part], mode: Mode) -> dict[int, list[Score]]:
        """Return the scores of each device's batches by its number; all get the common weights first."""
        self._fleet.hand(((part.member, part.traffic, part.clock) for part in parts), evaluation=True)
        batches = {part.member.index: self.batches(part.member.facts, split) for part in parts}
        votes = {part.member.index: ClipVotes(_chunks(part.member.facts, split)) for part in parts}
        scores: dict[int, list[Score]] = {part.member.index: [] for part in parts}
        for index in range(max(batches.values(), default=0)):
            active = [part for part in parts if index < batches[part.member.index]]
            if mode == "alone":
                calls = [part.member.device.evaluate_alone(split, index) for part in active]
                for part, call in zip(active, calls, strict=True):
                    scores[part.member.index].append(part.clock.wait_score(call))
                continue
            sent = self._fetch(split, index, active, mode)
            if isinstance(self._server, BodySide):
                for part, score in zip(active, self._score_on_devices(self._server, index, active, sent), strict=True):
                    scores[part.member.index].append(score)
                continue
            for part, (activation, labels) in zip(active, sent, strict=True):
                with part.clock:
                    score = self._server.score(index, part.decision.level, activation, labels, votes[part.member.index])
                scores[part.member.index].append(score)
        return scores

    def batches(self, facts: DeviceFacts, split: Split) -> int:
        """Return the number of batches of a split."""
        return -(-(facts.val_rows if split == "val" else facts.test_rows) // self._config.batch_size)

    def _score_on_devices(
        self, server: BodySide, index: int, parts: Sequence[Part], sent: Sequence[tuple[Message, Message | None]]
    ) -> list[Score]:
        """Let the devices, which have the last layers and the labels, score a batch of each."""
        calls = []
        for part, (activation, _) in zip(parts, sent, strict=True):
            with part.clock:
                features = server.features(index, part.decision.level, activation)
                data = features.to_bytes()
            part.traffic.count_evaluation(features)
            calls.append(require_tail(part.member.device, part.member.index).score(data))
        return [part.clock.wait(call) for part, call in zip(parts, calls, strict=True)]

    def _fetch(
        self, split: Split, index: int, parts: Sequence[Part], mode: Mode
    ) -> list[tuple[Message, Message | None]]:
        """Return activation and labels of a batch of each device, from the cache where they are there."""
        keep, cache = mode in ("frozen", "cached") and split == "val", self._server.cache.validation
        cached = {part.member.index: cache.setdefault(part.member.index, []) if keep else [] for part in parts}
        calls = {
            part.member.index: part.member.device.evaluate(split, index)
            for part in parts
            if index >= len(cached[part.member.index])
        }
        found: list[tuple[Message, Message | None]] = []
        for part in parts:
            kept = cached[part.member.index]
            if index < len(kept):
                found.append((parse(kept[index][0]), parse(kept[index][1])))
                continue
            activation, labels = part.clock.wait_uplink(calls[part.member.index])
            part.traffic.count_evaluation(activation)
            if labels is not None:
                part.traffic.count_evaluation(labels)
                if keep:
                    kept.append((activation.to_bytes(), labels.to_bytes()))
            found.append((activation, labels))
        return found


def _chunks(facts: DeviceFacts, split: Split) -> tuple[int, ...] | None:
    return facts.val_chunks if split == "val" else facts.test_chunks
