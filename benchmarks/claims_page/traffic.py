"""Our figures for claims about split training, from the traffic tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from claims_page.results import Results, TrafficRow, TrafficTable
from claims_page.verdict import Check, Measured, alike, at_least, at_most, needed, number

NO_LOSS = 0.3
"""Points of accuracy below which a schedule counts as without loss: the seeds' standard deviation is about as large."""
NO_LOSS_OF_A_LEVEL = 0.5
"""The same for a level by transfer against one from scratch."""
NEEDS_SERVER = 5.0
"""Points that the whole network must be above what the device reaches alone, or nobody would need the link."""
REFERENCE = "split fp32"

Measure = Callable[[Results], list[Measured]]


def traffic_at_no_loss(results: Results) -> list[Measured]:
    """A deprune schedule against its loosest level throughout."""
    found = []
    for name, table, tight_first in _schedules(results, "deprune"):
        loose = table.throughout(tight_first.levels[-1], tight_first)
        if loose is not None:
            times = loose.frame_mb / tight_first.frame_mb
            checks = (
                alike("epochs", tight_first.epochs, loose.epochs),
                at_least("traffic", times, 4, "×"),
                at_most("accuracy lost", loose.accuracy_mean - tight_first.accuracy_mean, NO_LOSS, " points"),
            )
            figure = f"{times:.2f}×, {_difference(tight_first, loose)}"
            found.append(_measured(name, (tight_first, loose), figure, checks))
    return found


def traffic_until_target(results: Results) -> list[Measured]:
    """The bytes that a deprune schedule sends until it is as accurate as the reference, less a point."""
    found = []
    for name, table, tight_first in _schedules(results, "deprune"):
        loose = table.throughout(tight_first.levels[-1], tight_first)
        if loose is not None:
            ours, theirs = tight_first.mb_to_target, loose.mb_to_target
            reachable = needed(f"`{loose.name}` itself never comes within a point", theirs is not None)
            if ours and theirs:
                figure, target = f"{theirs / ours:.2f}×", at_least("bytes until the target", theirs / ours, 4, "×")
            else:
                figure, target = "–", Check(f"`{tight_first.name}` never comes within a point", False)
            found.append(_measured(name, (tight_first, loose), figure, (reachable, target)))
    return found


def gain_on_fixed(results: Results) -> list[Measured]:
    """A deprune schedule against its tightest level throughout."""
    found = []
    for name, table, tight_first in _schedules(results, "deprune"):
        fixed = table.throughout(tight_first.levels[0], tight_first)
        if fixed is not None:
            gain = tight_first.accuracy_mean - fixed.accuracy_mean
            checks = (alike("epochs", tight_first.epochs, fixed.epochs), at_least("gain", gain, 4, " points"))
            found.append(_measured(name, (tight_first, fixed), _difference(tight_first, fixed), checks))
    return found


def level_by_transfer(results: Results) -> list[Measured]:
    """Each further level of a prune family against the same level from scratch."""
    found = []
    for name, table, member in _schedules(results, "prune"):
        scratch = table.throughout(member.levels[-1], member)
        if scratch is not None and member.stage_epochs and len(member.levels) > 1:
            times = scratch.epochs / member.stage_epochs
            lost = scratch.accuracy_mean - member.accuracy_mean
            checks = (
                at_least("epochs", times, 6, "×"),
                at_most("accuracy lost", lost, NO_LOSS_OF_A_LEVEL, " points"),
            )
            figure = f"{times:.1f}× fewer epochs, {_difference(member, scratch)}"
            found.append(_measured(name, (member, scratch), figure, checks))
    return found


def thin_schedule(times: float, points: float) -> Measure:
    """Return the measure of our own target: the most accurate row that sends so many times less than fp32."""

    def measure(results: Results) -> list[Measured]:
        return _best_of_each(results, lambda row: (row.times_less or 0) >= times, f"{times:g}× less", points)

    return measure


def less_than_upload(results: Results) -> list[Measured]:
    """Our own target: the most accurate row that sends less than the raw images once."""
    return _best_of_each(results, lambda row: (row.times_less_than_upload or 0) > 1, "less than the raw images", 1.0)


def thinnest_within(table: TrafficTable, points: float) -> TrafficRow | None:
    """Return the row that sends least and is at most so many points below the reference."""
    reference = table.row(REFERENCE)
    if reference is None:
        return None
    near = [row for row in table.rows if row.crosses and row.accuracy_mean >= reference.accuracy_mean - points]
    return min(near, key=lambda row: row.frame_mb)


def above_device_alone(table: TrafficTable) -> float | None:
    """Return how many points the reference is above the best that the device reaches alone; None: not measured."""
    reference, alone = table.row(REFERENCE), table.row("device alone")
    return None if reference is None or alone is None else reference.accuracy_mean - alone.accuracy_mean


def needs_server(table: TrafficTable) -> Check:
    """Return the condition that the device alone is clearly worse than the whole network."""
    gap = above_device_alone(table)
    if gap is None:
        return needed("the table has no row `device alone`", False)
    return needed(f"the device alone is only {gap:.1f} points below `{REFERENCE}`", gap >= NEEDS_SERVER)


def _best_of_each(results: Results, fits: Callable[[TrafficRow], bool], what: str, points: float) -> list[Measured]:
    found = []
    for name, table in results.traffic.items():
        reference, rows = table.row(REFERENCE), [row for row in table.rows if row.crosses if fits(row)]
        if reference is None:
            continue
        best = max(rows, key=lambda row: row.accuracy_mean, default=None)
        if best is None:
            checks: tuple[Check, ...] = (needs_server(table), Check(f"no row sends {what}", False))
            found.append(_measured(name, (reference,), "–", checks))
        else:
            lost = reference.accuracy_mean - best.accuracy_mean
            checks = (needs_server(table), at_most(f"accuracy lost at {what}", lost, points, " points"))
            figure = f"{best.times_less:,.0f}×, {_difference(best, reference)}"
            found.append(_measured(name, (best, reference), figure, checks))
    return found


def _schedules(results: Results, kind: str) -> Iterator[tuple[str, TrafficTable, TrafficRow]]:
    """Yield the rows of a schedule with several levels, with their tables and the names of these."""
    for name, table in results.traffic.items():
        for row in table.rows:
            if row.schedule.startswith(kind) and row.levels:
                yield name, table, row


def _measured(result: str, rows: tuple[TrafficRow, ...], figure: str, checks: tuple[Check, ...]) -> Measured:
    names = " against ".join(f"`{row.name}`" for row in rows)
    commits = tuple(sorted({commit for row in rows for commit in row.commits}))
    return Measured(names, figure, min(row.seeds for row in rows), result, commits, checks)


def _difference(row: TrafficRow, other: TrafficRow) -> str:
    """Return the difference of two rows' accuracies with its standard error, where there are seeds enough."""
    points = row.accuracy_mean - other.accuracy_mean
    if row.accuracy_std is None or other.accuracy_std is None:
        return f"{number(points, '+')} points"
    error = math.sqrt(row.accuracy_std**2 / row.seeds + other.accuracy_std**2 / other.seeds)
    return f"{number(points, '+')} ± {error:.2f} points"
