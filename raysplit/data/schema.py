"""What every source returns: parts and rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from raysplit.errors import DataError
from raysplit.records.summary import SplitName

_log = logging.getLogger(__name__)

MOST_UNNAMED_CLASSES = 100_000
TEST_SHARE = 0.2
"""Of the rows of a source without a test split of its own."""
Pixels = npt.NDArray[np.uint8]
"""Of one image: (H, W) or (H, W, 3)."""
UnusedLabels = Literal["keep", "drop"]
Source = Literal["train", "test"]
"""The splits that a source has; validation is cut from train later."""


class BadRow(ValueError):
    """One row that cannot be used; the caller, which knows its place, turns this into a DataError or skips it."""


class Row(NamedTuple):
    """One image or recording and its label, not yet decoded."""

    where: str
    """File and row (counted from 0), as errors name it."""
    image: object
    """An encoded image, the file that holds one, pixels, or any other image that `raysplit.data.decode` takes."""
    label: int | None
    group: str = ""
    """Of a recording: its speaker or song, or its own name where neither is known."""
    held_out: bool = False
    """Of a recording in a training split: whether the data set itself has it in its validation split."""


def draw_test_rows(count: int) -> npt.NDArray[np.bool_]:
    """Return which of `count` rows are the test split of a source without one: a fifth, drawn with a fixed seed.

    >>> int(draw_test_rows(50).sum())
    10
    """
    # NumPy promises that RandomState's stream never changes, so neither do the test rows.
    drawn = np.random.RandomState(0).permutation(count)[: round(count * TEST_SHARE)]
    return np.isin(np.arange(count), drawn)


def draw_test_groups(where: object, groups: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which recordings are the test split of a source without one: those of a fifth of their groups.

    Raises DataError if there is only one group.

    >>> int(draw_test_groups("example", ["anna", "ben", "ben", "carl", "dora", "emil"]).sum()) in (1, 2)
    True
    """
    names = sorted(set(groups))
    if len(names) == 1:
        raise DataError(
            f"{where}: all recordings are of one speaker or song, '{names[0]}', so none is left for a test split; "
            "data.group says how they are told apart"
        )
    drawn = np.random.RandomState(0).permutation(len(names))[: max(1, round(len(names) * TEST_SHARE))]
    chosen = {names[index] for index in drawn}
    return np.array([group in chosen for group in groups], dtype=bool)


@dataclass(frozen=True)
class Part:
    """One split of a source, not yet decoded; `rows` reads it from the start."""

    where: str
    classes: tuple[str, ...]
    identity: tuple[str, ...]
    """Changes whenever the rows change: paths, sizes and times of the files that hold them."""
    count: int
    taken_from: SplitName
    """The split of the source that the rows are from: the test split may be its validation split, or cut from train."""
    rows: Callable[[], Iterator[Row]]


def file_identity(path: Path) -> str:
    """Return text that changes when the file does: path, size in bytes and modification time in ns.

    Of a link to nothing it is that of the link, of nothing the path.
    """
    try:
        stat = path.stat()
    except OSError:
        return f"{path} {path.lstat().st_mtime_ns}" if path.is_symlink() else f"{path}"
    return f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"


@cache
def warn_once(text: str) -> None:
    """Log a warning, once in a process: facts, training and tests each read the same files."""
    _log.warning(text)


class Classes(NamedTuple):
    """The classes of a source."""

    names: tuple[str, ...]
    numbers: Mapping[int | str, int]
    """The class of each label that is not the number of its class."""


def number_classes(where: object, used: set[int], names: tuple[str, ...] | None, unused: UnusedLabels) -> Classes:
    """Return the classes of a source whose labels are whole numbers, of which `used` occur.

    Without names a class is called by its number. Where some numbers do not occur and are kept as classes, a warning
    says so. Raises DataError for a number that is too large to keep all those below it.

    >>> number_classes("example", {7, 100}, None, "drop")
    Classes(names=('7', '100'), numbers={7: 0, 100: 1})
    """
    labels = sorted(label for label in used if label >= 0 and (names is None or label < len(names)))
    if unused == "drop":
        kept = tuple(str(label) if names is None else names[label] for label in labels)
        return Classes(kept, {label: number for number, label in enumerate(labels)})
    if names is not None:
        return Classes(names, {})
    top = max(labels, default=0)
    remedy = "data.unused_labels=drop makes classes of those that occur"
    if top >= MOST_UNNAMED_CLASSES:
        raise DataError(
            f"{where}: the largest label is {top} and there are no class names; without names, labels must be below "
            f"{MOST_UNNAMED_CLASSES}. {remedy}"
        )
    if labels and len(labels) <= top:
        some = ", ".join(map(str, labels[:10])) + (", …" if len(labels) > 10 else "")
        warn_once(
            f"{where}: the labels are up to {top}, which makes {top + 1} classes, but only {len(labels)} occur "
            f"({some}); {remedy}"
        )
    return Classes(tuple(str(i) for i in range(top + 1)), {})


def check_label(label: int | None, classes: int) -> int:
    """Return `label` if it is one of 0..classes-1, else raise BadRow.

    >>> check_label(3, classes=3)
    Traceback (most recent call last):
    raysplit.data.schema.BadRow: label 3 is not in 0..2
    """
    if label is None:
        raise BadRow("the label is null")
    if not 0 <= label < classes:
        raise BadRow(f"label {label} is not in 0..{classes - 1}")
    return label
