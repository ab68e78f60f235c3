"""The comparison table: one line a run, as text for a terminal and as cells for the page."""

from __future__ import annotations

from collections.abc import Sequence

from raysplit.folders.reader import RunRecord, labels
from raysplit.utils.text_table import DASH, align_table, megabytes, number, percent, times

COLUMNS = (
    "run",
    "accuracy",
    "MB up",
    "MB down",
    "times less\nthan fp32 split",
    "times less\nthan raw upload",
    "device s",
    "server s",
    "link s",
)
"""Headers; a line break puts one on two lines, in the terminal and on the page."""
TEXT_COLUMNS = 2
"""The first columns hold text and stand on the left."""
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


def table(runs: Sequence[RunRecord]) -> str:
    """Return the runs as an aligned plain-text table.

    MB are 10⁶ bytes of training traffic, accuracy is the test split's, seconds are those of training and validation.
    A run that has not ended shows the validation accuracy of its last epoch, marked as such, and dashes.
    """
    return align_table(COLUMNS, cells(runs), TEXT_COLUMNS)


def family_table(runs: Sequence[RunRecord]) -> str:
    """Return the levels of the runs' prune families as an aligned plain-text table; "" where there are none.

    Accuracies are those of the model kept at the level, bytes are of training messages for each training image.
    """
    lines = family_cells(runs)
    return align_table(FAMILY_COLUMNS, lines, TEXT_COLUMNS) if lines else ""


def cells(runs: Sequence[RunRecord]) -> list[tuple[str, ...]]:
    """Return the text of each run's cells, in the order of COLUMNS."""
    return [_cells(run, label) for run, label in zip(runs, labels(runs), strict=True)]


def family_cells(runs: Sequence[RunRecord]) -> list[tuple[str, ...]]:
    """Return the text of a line for each level of each family, in the order of FAMILY_COLUMNS."""
    return [
        (
            label,
            member.level,
            percent(member.test_accuracy),
            percent(member.val_accuracy),
            number(member.bytes_per_sample_up),
            number(member.bytes_per_sample_down),
            str(member.epochs),
            number(member.seconds),
        )
        for run, label in zip(runs, labels(runs), strict=True)
        for member in run.levels
    ]


def _cells(run: RunRecord, label: str) -> tuple[str, ...]:
    done = run.summary
    if done is None:
        accuracy = f"{percent(run.epochs[-1].val_accuracy)} (val, epoch {len(run.epochs)} of {run.planned})"
        return (label, accuracy, *[DASH] * (len(COLUMNS) - 2))
    return (
        label,
        percent(done.accuracy),
        megabytes(done.bytes_up),
        megabytes(done.bytes_down),
        times(done.times_less),
        times(done.times_less_than_upload),
        *(number(seconds) for seconds in (done.device_s, done.server_s, done.link_s)),
    )
