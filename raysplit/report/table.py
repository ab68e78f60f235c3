"""The comparison table: one line a run, as text for a terminal and as cells for the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from raysplit.report.runs import Run, labels

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
DASH = "–"


def table(runs: Sequence[Run]) -> str:
    """Return the runs as an aligned plain-text table.

    MB are 10⁶ bytes of training traffic, accuracy is the test split's, seconds are those of training and validation.
    A run that has not ended shows the validation accuracy of its last epoch, marked as such, and dashes.
    """
    return aligned(COLUMNS, cells(runs), TEXT_COLUMNS)


def family_table(runs: Sequence[Run]) -> str:
    """Return the levels of the runs' prune families as an aligned plain-text table; "" where there are none.

    Accuracies are those of the model kept at the level, bytes are of training messages for each training image.
    """
    lines = family_cells(runs)
    return aligned(FAMILY_COLUMNS, lines, TEXT_COLUMNS) if lines else ""


def aligned(columns: Sequence[str], body: Sequence[Sequence[str]], text_columns: int) -> str:
    """Return a plain-text table; the first columns are text, the others numbers on the right.

    `columns` are its headers, of one line or two.
    """
    # A header's first line is blank where it has one line only.
    head = zip(*(name.rpartition("\n")[::2] for name in columns), strict=True)
    lines: list[Sequence[str]] = [*(line for line in head if any(line)), *body]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def cells(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """Return the text of each run's cells, in the order of COLUMNS."""
    return [_cells(run, label) for run, label in zip(runs, labels(runs), strict=True)]


def family_cells(runs: Sequence[Run]) -> list[tuple[str, ...]]:
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
        for member in run.members
    ]


def _cells(run: Run, label: str) -> tuple[str, ...]:
    done = run.summary
    if done is None:
        accuracy = f"{percent(run.rows[-1]['val_accuracy'])} (val, epoch {len(run.rows)} of {run.planned})"
        return (label, accuracy, *[DASH] * (len(COLUMNS) - 2))
    return (
        label,
        percent(done["accuracy"]),
        megabytes(done["bytes_up"]),
        megabytes(done["bytes_down"]),
        times(done["times_less"]),
        times(done["times_less_than_upload"]),
        *(number(done[key]) for key in ("device_s", "server_s", "link_s")),
    )


def number(value: float) -> str:
    """Return a number with about three digits, never in powers of ten: `1,234`, `505`, `90.3`, `2.82`, `0.016`."""
    if value == 0:
        return "0"
    if value < 1e-4:
        return "<0.0001"
    if value < 0.1:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def megabytes(size: float) -> str:
    return number(size / 1e6)


def times(ratio: float) -> str:
    return f"{number(ratio)}×"


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def called(model: Mapping[str, Any]) -> str:
    """Return a model config's name and args like a call: `vit(patch=4, depth=6)`."""
    args = ", ".join(f"{key}={json.dumps(value)}" for key, value in model["args"].items())
    return f"{model['name']}({args})" if args else model["name"]
