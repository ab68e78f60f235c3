"""Link-aware: the loosest level whose step fits a target time on the link as measured so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from raysplit.schedules.base import Decision, History, RunContext
from raysplit.schedules.ladder import Ladder
from raysplit.wire.level import Level


class LinkAware(Ladder):
    """The loosest level whose optimizer step fits a target time, on the link as measured while training.

    >>> schedule = LinkAware(ladder=("c4.b4/b4", "all.b4/b4"), step_s=0.1)
    >>> context = RunContext(epochs=4, steps=10, step_bytes=lambda level: 1_000)
    >>> schedule.decide(context, []).reason
    'tightest first: the link is not measured yet'
    """

    measures: ClassVar[bool] = True
    for_each_device: ClassVar[bool] = True
    kind: Literal["link_aware"] = "link_aware"
    step_s: Annotated[float, Field(gt=0)]
    """Target seconds of one optimizer step: both halves' compute and the link."""

    def decide(self, context: RunContext, history: History) -> Decision:
        """Return the loosest level whose step is expected to fit `step_s`; the tightest if none fits.

        The link seconds of a step are modeled as a line over its bytes, through the mean of each level so far, scaled
        to the last epoch: a link that got slower makes all levels slower. While only one level has been measured, all
        of its link time counts as bandwidth, so that the guess errs towards the tighter level. No level is assumed to
        be faster than when it was last measured: where compute hides the link, the line does not hold for looser
        levels. Epochs from the server's cache say nothing about the link. Raises ConfigError for a ladder that is not
        in order.
        """
        self.check_order(context)
        level, reason = self._pick(context, [record for record in history if record.mode != "cached" and record.steps])
        return Decision(level, reason, mode=context.next_mode(level, history), fresh_views=context.frozen)

    def _pick(self, context: RunContext, history: History) -> tuple[Level, str]:
        if not history:
            return self.ladder[0], "tightest first: the link is not measured yet"
        steps, last = context.steps, history[-1]
        levels = sorted({record.level for record in history})
        fixed, slope = _fit_line([_mean_step(history, level, steps) for level in levels])
        expected = fixed + slope * last.traffic / steps
        scale = last.train_link_s / steps / expected if expected > 0 else 1.0
        compute = last.train_compute_s / steps
        measured = {record.level: (record.train_link_s + record.train_compute_s) / steps for record in history}

        def seconds(level: Level) -> float:
            predicted = compute + scale * (fixed + slope * context.step_bytes(level))
            return max(predicted, measured.get(str(level), 0.0))

        fitting = [level for level in self.ladder if seconds(level) <= self.step_s]
        level = fitting[-1] if fitting else self.ladder[0]
        reason = f"about {1000 * seconds(level):.0f} ms a step, target {1000 * self.step_s:.0f} ms"
        return level, reason if fitting else f"no level fits: {reason}"


def _mean_step(history: History, level: str, steps: int) -> tuple[float, float]:
    """Return the mean bytes and link seconds of a step at a level.

    Epochs at one level differ only by what zstd saves: a slope through them would be noise.
    """
    records = [record for record in history if record.level == level]
    count = steps * len(records)
    return sum(record.traffic for record in records) / count, sum(record.train_link_s for record in records) / count


def _fit_line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Fit y = fixed + slope·x by least squares, neither below zero; a single x gives a line through the origin."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread > 0 else 0.0
    fixed = mean_y - slope * mean_x
    if spread > 0 and slope > 0 and fixed >= 0:
        return fixed, slope
    return 0.0, mean_y / mean_x if mean_x > 0 else 0.0
