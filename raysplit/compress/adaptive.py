"""The schedules that look back: at accuracy, at the link, at the bytes spent. Pure functions of the history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from raysplit.config import ByteBudget, Level, LinkAware, Plateau
from raysplit.errors import ConfigError


@dataclass(frozen=True)
class Past:
    """What a schedule sees of an epoch that is over."""

    level: str
    val_accuracy: float
    bytes: int
    """Training traffic, both ways."""
    link_s: float
    """Seconds in which neither half computed, in training."""
    compute_s: float
    """Seconds in which either half computed, in training."""


def plateau(schedule: Plateau, history: Sequence[Past], step_bytes: Callable[[Level], int]) -> tuple[Level, str]:
    """Return the level for the next epoch, one looser than the last when it has stalled, and why.

    A gain is counted against the last counted gain, as in torch's ReduceLROnPlateau: small gains add up. Raises
    ConfigError when, by `step_bytes`, the ladder is not in order.
    """
    ladder = schedule.ladder
    _tightest_first(ladder, step_bytes)
    if not history:
        return ladder[0], "tightest first"
    index = [str(level) for level in ladder].index(history[-1].level)
    here = list(history)
    while len(here) > 1 and here[-2].level == here[-1].level:
        here.pop()
    at_level = history[len(here) - 1 :]
    best, since = at_level[0].val_accuracy, 0
    for past in at_level[1:]:
        gained = past.val_accuracy > best and past.val_accuracy >= best + schedule.min_gain
        best, since = (past.val_accuracy, 0) if gained else (best, since + 1)
    if since < schedule.patience:
        return ladder[index], f"{since} of {schedule.patience} epochs without gain"
    if index == len(ladder) - 1:
        return ladder[index], f"stalled for {since} epochs at the loosest level"
    return ladder[index + 1], f"stalled at {100 * best:.1f} % for {since} epochs"


def link_aware(
    schedule: LinkAware, steps: int, step_bytes: Callable[[Level], int], history: Sequence[Past]
) -> tuple[Level, str]:
    """Return the loosest level whose step is expected to fit `step_s`, and why; the tightest if none fits.

    The time a step spends on the link is a line over its bytes, through the mean of each level so far, scaled to
    what the last epoch measured: a link that got slower makes all levels slower. While only one level has been
    seen, all of its link time counts as bandwidth, so a guess errs towards the tighter level. No level is taken to
    be faster than when it was last measured: where compute hides the link, the line says nothing of looser levels.
    Raises ConfigError when, by `step_bytes`, the ladder is not in order.
    """
    _tightest_first(schedule.ladder, step_bytes)
    if not history:
        return schedule.ladder[0], "tightest first: the link is not measured yet"
    last = history[-1]
    fixed, slope = _line([_mean(history, level, steps) for level in sorted({past.level for past in history})])
    usual = fixed + slope * last.bytes / steps
    scale = last.link_s / steps / usual if usual > 0 else 1.0
    compute = last.compute_s / steps
    measured = {past.level: (past.link_s + past.compute_s) / steps for past in history}

    def seconds(level: Level) -> float:
        return max(compute + scale * (fixed + slope * step_bytes(level)), measured.get(str(level), 0.0))

    fitting = [level for level in schedule.ladder if seconds(level) <= schedule.step_s]
    level = fitting[-1] if fitting else schedule.ladder[0]
    known = f"about {1000 * seconds(level):.0f} ms a step, target {1000 * schedule.step_s:.0f} ms"
    return level, known if fitting else f"no level fits: {known}"


def _tightest_first(ladder: Sequence[Level], step_bytes: Callable[[Level], int]) -> None:
    for level, after in pairwise(ladder):
        if step_bytes(level) > step_bytes(after):
            raise ConfigError(
                f"schedule.ladder: {level} ({step_bytes(level):,} B a step at most) stands before {after} "
                f"({step_bytes(after):,} B); list the tightest level first"
            )


def _mean(history: Sequence[Past], level: str, steps: int) -> tuple[float, float]:
    """Return bytes and link seconds of a step at a level.

    Epochs at one level differ by what zstd found: a slope through them would be noise.
    """
    seen = [past for past in history if past.level == level]
    count = steps * len(seen)
    return sum(past.bytes for past in seen) / count, sum(past.link_s for past in seen) / count


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Fit y = fixed + slope·x by least squares, neither below zero; one x alone gives a line through the origin."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread > 0 else 0.0
    fixed = mean_y - slope * mean_x
    if spread > 0 and slope > 0 and fixed >= 0:
        return fixed, slope
    return 0.0, mean_y / mean_x if mean_x > 0 else 0.0


def budgeted(
    schedule: ByteBudget,
    epoch: int,
    epochs: int,
    steps: int,
    step_bytes: Callable[[Level], int],
    history: Sequence[Past],
) -> tuple[Level, str]:
    """Return the loosest level that could be kept to the end with the bytes left, and why.

    Epochs that cost less than the bound leave more for those to come, so the level only ever gets looser.
    Raises ConfigError when even the tightest level may cost more.
    """
    spent = sum(past.bytes for past in history)
    ahead = (epochs - epoch) * steps
    # In megabytes: what the error asks for reads back as this very quotient; megabytes times 1e6 may fall short of it.
    affordable = [level for level in schedule.ladder if (spent + ahead * step_bytes(level)) / 1e6 <= schedule.megabytes]
    if not affordable:
        tightest = min(schedule.ladder, key=step_bytes)
        needed = f"{ahead * step_bytes(tightest) / 1e6:.6f}".rstrip("0").rstrip(".")  # to the byte
        raise ConfigError(
            f"schedule.megabytes={schedule.megabytes} is too little: {epochs - epoch} epochs at the tightest "
            f"level {tightest} may take {needed} MB; allow more or add a tighter level"
        )
    level = max(affordable, key=step_bytes)
    return level, f"{schedule.megabytes - spent / 1e6:.4g} MB left for {epochs - epoch} epochs"
