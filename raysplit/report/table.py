"""The comparison tables, one row per run or level: as text for a terminal and as cells for a page."""

from __future__ import annotations

from collections.abc import Sequence

from raysplit.folders.reader import RunRecord, labels
from raysplit.utils.text_table import DASH, align_table, megabytes, number, percent, times

COLUMNS = (
    "run",
    "accuracy",
    "MB up",
    "MB down",
    "reduction vs.\nfp32 split",
    "reduction vs.\nraw upload",
    "device s",
    "server s",
    "link s",
)
"""Column headers; a line break puts a header on two lines, in the terminal and on the page."""
TEXT_COLUMNS = 2
"""The number of columns, from the left, that hold text; the others hold numbers."""
FAMILY_COLUMNS = (
    "run",
    "level",
    "accuracy",
    "validation",
    "bytes up\nper image",
    "bytes down\nper image",
    "epochs",
    "seconds",
)


def format_runs(runs: Sequence[RunRecord]) -> str:
    """Return the runs as an aligned plain-text table.

    MB are 10⁶ bytes of training traffic, accuracy is test accuracy, seconds are those of training and validation. A run
    that is not finished has the validation accuracy of its last epoch, marked as such, and dashes.
    """
    return align_table(COLUMNS, run_cells(runs), TEXT_COLUMNS)


def family_table(runs: Sequence[RunRecord]) -> str:
    """Return the levels of the runs' prune families as an aligned plain-text table; "" if there are none.

    Accuracies, on test and validation images, are those of the model kept at the level; bytes are training bytes per
    training image.
    """
    lines = family_cells(runs)
    return align_table(FAMILY_COLUMNS, lines, TEXT_COLUMNS) if lines else ""


def run_cells(runs: Sequence[RunRecord]) -> list[tuple[str, ...]]:
    """Return a row of cells for each run, in the order of COLUMNS."""
    return [_row(run, label) for run, label in zip(runs, labels(runs), strict=True)]


def family_cells(runs: Sequence[RunRecord]) -> list[tuple[str, ...]]:
    """Return a row of cells for each level of each family, in the order of FAMILY_COLUMNS."""
    return [
        (
            label,
            level.level,
            percent(level.test_accuracy),
            percent(level.val_accuracy),
            number(level.bytes_per_sample_up),
            number(level.bytes_per_sample_down),
            str(level.epochs),
            number(level.seconds),
        )
        for run, label in zip(runs, labels(runs), strict=True)
        for level in run.levels
    ]


def _row(run: RunRecord, label: str) -> tuple[str, ...]:
    summary = run.summary
    if summary is None:
        accuracy = f"{percent(run.epochs[-1].val_accuracy)} (val, epoch {len(run.epochs)} of {run.planned_epochs})"
        return (label, accuracy, *[DASH] * (len(COLUMNS) - 2))
    return (
        label,
        percent(summary.accuracy),
        megabytes(summary.bytes_up),
        megabytes(summary.bytes_down),
        *(times(ratio) if summary.traffic else DASH for ratio in (summary.times_less, summary.times_less_than_upload)),
        *(number(seconds) for seconds in (summary.device_s, summary.server_s, summary.link_s)),
    )
