"""What every source returns (parts and rows), and the Parquet layout, which is Hugging Face's image layout."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raysplit.errors import DataError

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMN = "label"
_log = logging.getLogger(__name__)
METADATA_KEY = b"huggingface"

MOST_UNNAMED_CLASSES = 100_000
TEST_SHARE = 0.2
"""Of the rows of a source without a test split of its own."""
Pixels = npt.NDArray[np.uint8]
"""Of one image: (H, W) or (H, W, 3)."""
Source = Literal["train", "test"]
"""The splits that a source has; validation is cut from train later."""


class BadRow(ValueError):
    """One row that cannot be used; the caller, which knows its place, turns this into a DataError or skips it."""


class Row(NamedTuple):
    """One image and its label, not yet decoded."""

    where: str
    """File and row (counted from 0), as errors name it."""
    image: object
    """An encoded image, the file that holds one, pixels, or any other image that `raysplit.data.decode` takes."""
    label: int | None


def draw_test_rows(count: int) -> npt.NDArray[np.bool_]:
    """Return which of `count` rows are the test split of a source without one: a fifth, drawn with a fixed seed.

    >>> int(draw_test_rows(50).sum())
    10
    """
    # NumPy promises that RandomState's stream never changes, so neither do the test rows.
    drawn = np.random.RandomState(0).permutation(count)[: round(count * TEST_SHARE)]
    return np.isin(np.arange(count), drawn)


@dataclass(frozen=True)
class Part:
    """One split of a source, not yet decoded; `rows` reads it from the start."""

    where: str
    classes: tuple[str, ...]
    identity: tuple[str, ...]
    """Changes whenever the rows change: paths, sizes and times of the files that hold them."""
    count: int
    rows: Callable[[], Iterator[Row]]


def file_identity(path: Path) -> str:
    """Return text that changes when the file does: path, size in bytes and modification time in ns.

    Of a link to nothing it is that of the link.
    """
    try:
        stat = path.stat()
    except OSError:
        return f"{path} {path.lstat().st_mtime_ns}"
    return f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"


@cache
def warn_once(text: str) -> None:
    """Log a warning, once in a process: facts, training and tests each read the same files."""
    _log.warning(text)


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


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def image_column(schema: pa.Schema, where: object) -> str:
    """Return the name of the image column; DataError if it or the label column is missing or mistyped."""
    columns = f"it has the columns {', '.join(schema.names) or '(none)'}"
    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    if image is None:
        raise DataError(f"{where}: no column {' or '.join(map(repr, IMAGE_COLUMNS))}; {columns}")
    if LABEL_COLUMN not in schema.names:
        raise DataError(f"{where}: no column '{LABEL_COLUMN}'; {columns}")
    kind = schema.field(image).type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise DataError(f"{where}: column '{image}' is {kind}, expected struct<bytes: binary, path: string>")
    kind = schema.field(LABEL_COLUMN).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or is_text(kind)):
        raise DataError(f"{where}: column '{LABEL_COLUMN}' is {kind}, expected integers, strings or booleans")
    return image


def class_names(schema: pa.Schema, where: object) -> tuple[str, ...] | None:
    """Return the class names in the schema's metadata, None if there are none; DataError if unreadable."""
    text = (schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        return None
    try:
        names = json.loads(text)["info"]["features"][LABEL_COLUMN].get("names")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{where}: the metadata '{METADATA_KEY.decode()}' does not describe '{LABEL_COLUMN}'") from None
    return tuple(str(name) for name in names) if names else None


def arrow_schema(classes: tuple[str, ...]) -> pa.Schema:
    """Return the schema of the files that raysplit writes, with the class names in its metadata.

    >>> class_names(arrow_schema(("cat", "dog")), "example")
    ('cat', 'dog')
    """
    label = {"names": list(classes), "_type": "ClassLabel"}
    features = {IMAGE_COLUMNS[0]: {"_type": "Image"}, LABEL_COLUMN: label}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.schema(
        [(IMAGE_COLUMNS[0], image), (LABEL_COLUMN, pa.int64())],
        metadata={METADATA_KEY: json.dumps({"info": {"features": features}}).encode()},
    )
