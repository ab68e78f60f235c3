"""Reader for a user's own Parquet files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raysplit.data.schema import (
    LABEL_COLUMN,
    MOST_UNNAMED_CLASSES,
    Part,
    Row,
    Source,
    class_names,
    draw_test_rows,
    file_identity,
    image_column,
    warn_once,
)
from raysplit.errors import DataError

_VALIDATION = ("validation", "val", "valid")


def parquet_part(path: Path, split: Source) -> Part:
    """Read a folder with train.parquet and test.parquet, shards named as on Hugging Face, folders train/ and test/ of
    any Parquet files (also below default/), or one file.

    Of one file, a fifth of the rows, drawn with a fixed seed, is the test split. Where a test split has no labels (all
    are -1 or null), a validation split beside it serves, with a warning. Raises DataError for a missing file, shard or
    column, for files that disagree about the class names, and for a split without labels.
    """
    if path.is_file():
        files = {"train": [path], "test": [path]}
    elif path.is_dir():
        files = {"train": _shards(path, ("train",)), "test": _labelled_test(path)}
    else:
        raise DataError(f"{path} does not exist; parquet:PATH takes a folder or one .parquet file")
    everything = list(dict.fromkeys(files["train"] + files["test"]))
    classes = _parquet_classes(everything)
    own = files[split]
    count = sum(_open(file).metadata.num_rows for file in own)
    identity = tuple(file_identity(file) for file in own)
    if not path.is_file():
        return Part(f"{path} ({split})", classes, identity, count, lambda: _parquet_rows(own, classes))
    test = draw_test_rows(count)
    keep = test if split == "test" else ~test
    return Part(
        f"{path} ({split})",
        classes,
        (*identity, split),
        int(keep.sum()),
        lambda: (row for row, kept in zip(_parquet_rows(own, classes), keep, strict=True) if kept),
    )


def _labelled_test(path: Path) -> list[Path]:
    test = _shards(path, ("test", *_VALIDATION))
    if _has_labels(test):
        return test
    try:
        validation = _shards(path, _VALIDATION)
    except DataError:
        validation = []
    if not validation or not _has_labels(validation):
        raise DataError(
            f"{test[0]} has no labels (all are -1 or null); use parquet:FILE with one labelled file, of which a fifth "
            "becomes the test split, or add a validation split"
        )
    warn_once(f"{test[0]} has no labels (all are -1 or null); {validation[0]} serves as the test split")
    return validation


def _has_labels(files: list[Path]) -> bool:
    for file in files:
        image_column(_open(file).schema_arrow, file)
    return any(label is not None and label != -1 for label in _distinct_labels(files))


def _distinct_labels(files: list[Path]) -> set[int | str | bool | None]:
    return set().union(*(_open(file).read([LABEL_COLUMN])[LABEL_COLUMN].unique().to_pylist() for file in files))


def _shards(path: Path, names: tuple[str, ...]) -> list[Path]:
    for name in names:
        for folder in (path, path / "data", path / "default"):
            if (folder / f"{name}.parquet").is_file():
                return [folder / f"{name}.parquet"]
            shards = sorted(folder.glob(f"{name}-*-of-*.parquet"))
            if shards:
                total = re.search(r"-of-(\d+)", shards[0].name)
                if total and len(shards) != int(total[1]):
                    raise DataError(f"{folder} has {len(shards)} of the {int(total[1])} files {name}-*.parquet")
                return shards
            # As Hugging Face converts data sets (0000.parquet), and as Ray Data writes them.
            if files := sorted((folder / name).glob("*.parquet")):
                return files
    raise DataError(f"{path} has no {names[0]}.parquet no {names[0]}-00000-of-….parquet and no {names[0]}/*.parquet")


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, memory_map=True)
    except (OSError, pa.ArrowException) as err:
        raise DataError(f"{file} is not a readable Parquet file ({err})") from None


def _parquet_classes(files: list[Path]) -> tuple[str, ...]:
    schemas = {file: _open(file).schema_arrow for file in files}
    for file, schema in schemas.items():
        image_column(schema, file)
    named = {file: names for file in files if (names := class_names(schemas[file], file))}
    for file, names in named.items():
        if names != next(iter(named.values())):
            raise DataError(f"{file} and {next(iter(named))} have different class names")
    if named:
        return next(iter(named.values()))
    labels = _distinct_labels(files)
    if words := [label for label in labels if isinstance(label, str | bool)]:
        if any(label is not None and not isinstance(label, str | bool) for label in labels):
            raise DataError(f"{files[0].parent}: some files have integers as labels, others text; store one kind")
        return tuple(str(word) for word in sorted(words, key=str))
    used = sorted(label for label in labels if isinstance(label, int) and label >= 0)
    top = max(used, default=0)
    if top >= MOST_UNNAMED_CLASSES:
        raise DataError(
            f"{files[0]}: the largest label is {top} and there are no class names; "
            f"without names, labels must be below {MOST_UNNAMED_CLASSES}"
        )
    if used and len(used) <= top:
        some = ", ".join(map(str, used[:10])) + (", …" if len(used) > 10 else "")
        warn_once(
            f"{files[0].parent}: the labels are up to {top}, which makes {top + 1} classes, but only {len(used)} occur "
            f"({some}); number them from 0 without gaps, or store class names, if the others do not exist"
        )
    return tuple(str(i) for i in range(top + 1))


def _parquet_rows(files: list[Path], classes: tuple[str, ...]) -> Iterator[Row]:
    numbers = {name: number for number, name in enumerate(classes)}
    for file in files:
        number = 0
        with _open(file) as parquet:
            image = image_column(parquet.schema_arrow, file)
            try:
                for batch in parquet.iter_batches(256, columns=[image, LABEL_COLUMN]):
                    for cell, label in zip(batch[image].to_pylist(), batch[LABEL_COLUMN].to_pylist(), strict=True):
                        if isinstance(label, str | bool):
                            label = numbers.get(str(label), -1)
                        yield Row(f"{file} row {number}", _image(cell, file), label)
                        number += 1
            except (OSError, pa.ArrowException) as err:
                raise DataError(f"{file} cannot be read after row {number} ({err})") from None


def _image(cell: dict[str, object] | None, file: Path) -> bytes | Path | None:
    """Return the bytes in a cell, else the path of an image: one beside the Parquet file, or absolute."""
    if cell is None:
        return None
    encoded, path = cell["bytes"], cell.get("path")
    if isinstance(encoded, bytes):
        return encoded
    return file.parent / path if isinstance(path, str) and path else None
