"""Reader for a user's own Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raysplit.config import DataConfig
from raysplit.data.parquet_columns import (
    class_names,
    group_column,
    image_column,
    known_column,
    label_column,
    label_columns,
)
from raysplit.data.parquet_files import SplitFiles, find_files
from raysplit.data.parquet_groups import find_groups, read_group
from raysplit.data.parquet_images import list_cells, pixels_shape, read_image, referenced_images
from raysplit.data.schema import (
    Classes,
    Part,
    Row,
    Source,
    UnusedLabels,
    draw_test_groups,
    draw_test_rows,
    file_identity,
    number_classes,
    warn_once,
)
from raysplit.errors import DataError, nearest
from raysplit.records.summary import SplitName

_UNLABELLED = "has no labels (all are -1 or null)"
_Label = int | str | bool | None


@dataclass(frozen=True)
class _Table:
    """A file, its columns and the labels that occur in it."""

    file: Path
    image: str
    label: str | None
    """None: the file has no column of labels."""
    used: frozenset[_Label]
    names: tuple[str, ...] | None
    """Of the classes, as its metadata has them."""
    rows: int
    recordings: bool = False
    group: str | None = None
    """Of recordings: the column of their speakers or songs; None: names of files may tell them."""
    held_out: bool = False
    """Whether these are recordings of a validation split, which belongs to the training split."""

    @property
    def is_labelled(self) -> bool:
        return any(label is not None and (label != -1 or isinstance(label, str)) for label in self.used)


def parquet_part(config: DataConfig, split: Source) -> Part:
    """Read the files that `find_files` finds, by the columns that `data.image` and `data.label` name or that are told.

    A test split without labels (all are -1 or null, or there is no such column) is left out. Where there is none, the
    validation split serves, else a fifth of train, drawn with a fixed seed; training goes without it, and a warning
    says so. Of recordings, a validation split beside a test split is held out of the training split, and whole speakers
    or songs are drawn. Raises DataError for what is missing or cannot be told, for files that disagree about the class
    names, and for a training split without labels.
    """
    chosen = _choose_tables(config, split)
    path, own, taken_from, keep = chosen.path, chosen.own, chosen.taken_from, chosen.keep
    classes, numbers = _classes(path, list(dict.fromkeys(chosen.train + chosen.test)), config.unused_labels)
    identity = tuple(text for table in own for text in _identify(table))
    if keep is None:
        where = f"{path} ({taken_from if split == 'test' else split})"
        count = sum(table.rows for table in own)
        return Part(
            where, classes, identity, count, taken_from if split == "test" else split, lambda: _rows(own, numbers)
        )
    return Part(
        f"{path} ({split})",
        classes,
        (*identity, split),
        int(keep.sum()),
        "train",
        lambda: (row for row, kept in zip(_rows(own, numbers), keep, strict=True) if kept),
    )


def read_column(config: DataConfig, split: Source, column: str) -> list[str]:
    """Return the values of a column, as text, of the rows that `parquet_part` reads for a split, in its order.

    Raises DataError for a file without the column, and for a row without a value.
    """
    chosen = _choose_tables(config, split)
    values: list[str] = []
    for table in chosen.own:
        with _open(table.file) as parquet:
            known_column(parquet.schema_arrow, table.file, "devices.shards", column)
            found = parquet.read([column])[column].to_pylist()
        if None in found:
            raise DataError(f"{table.file} row {found.index(None)} has no {column}, by which rows are dealt to devices")
        values += map(str, found)
    return values if chosen.keep is None else [value for value, kept in zip(values, chosen.keep, strict=True) if kept]


@dataclass(frozen=True)
class _Chosen:
    """The tables of a data set, and which rows of which of them are one split."""

    path: Path
    train: list[_Table]
    test: list[_Table]
    own: list[_Table]
    taken_from: SplitName
    """What serves as the test split."""
    keep: npt.NDArray[np.bool_] | None
    """Which rows of `own` are in the split; None: all."""


def _choose_tables(config: DataConfig, split: Source) -> _Chosen:
    path = Path(config.name.partition(":")[2]).expanduser()
    files = find_files(path, config.splits)
    train = [_open_table(file, config) for file in files.train]
    if any(table.rows for table in train) and not any(table.is_labelled for table in train):
        raise DataError(f"{train[0].file} {_UNLABELLED}; training needs labels: data.label names another column")
    taken_from, test = _choose_test(path, files, train, config)
    if config.audio is not None and taken_from == "test":
        held_out = [_open_table(file, config, train[0].label) for file in files.validation]
        train = train + [replace(table, held_out=True) for table in held_out if table.is_labelled]
    own, keep = test if split == "test" else train, None
    if taken_from == "train":
        drawn = draw_test_rows(sum(table.rows for table in own)) if config.audio is None else _draw_groups(path, own)
        keep = drawn if split == "test" else ~drawn
    return _Chosen(path, train, test, own, taken_from, keep)


def _draw_groups(path: Path, tables: list[_Table]) -> npt.NDArray[np.bool_]:
    """Return which recordings are the test split, those of a fifth of the speakers or songs."""
    groups: list[str] = []
    for table in tables:
        with _open(table.file) as parquet:
            groups += find_groups(parquet, table.image, table.group, table.file)
    return draw_test_groups(path, groups)


def _choose_test(
    path: Path, files: SplitFiles, train: list[_Table], config: DataConfig
) -> tuple[SplitName, list[_Table]]:
    """Return the split that serves as the test split, the first of test, validation and train that has labels."""
    unlabelled: list[str] = []
    serves: tuple[SplitName, list[_Table]] = "train", train
    for name, found in (("test", files.test), ("validation", files.validation)):
        tables = [_open_table(file, config, train[0].label) for file in found]
        if any(table.is_labelled for table in tables) or (tables and not any(table.rows for table in tables)):
            serves = ("test" if name == "test" else "validation"), tables
            break
        if tables:
            unlabelled.append(f"{tables[0].file} {_UNLABELLED}")
    problem = " and ".join(unlabelled) or f"{path} has no test split"
    if serves[0] == "test":
        if files.validation and config.audio is None:
            warn_once(f"{files.validation[0]} is not read: data.val_fraction of the training split is held out instead")
    elif serves[0] == "validation":
        warn_once(f"{problem}; {serves[1][0].file} serves as the test split")
    elif path.is_dir():
        warn_once(
            f"{problem}; a fifth of the training split, drawn with a fixed seed, serves as the test split, and "
            "training goes without it"
        )
    return serves


def _open_table(file: Path, config: DataConfig, known: str | None = None) -> _Table:
    """Read what a file holds; of another split than train, the label column may be missing or is the `known` one."""
    with _open(file) as parquet:
        schema = parquet.schema_arrow
        recordings = config.audio is not None
        image = image_column(schema, file, config.image, recordings)
        group = group_column(schema, file, config.group) if recordings else None
        label: str | None
        if known is None:
            label = label_column(schema, file, image, config.label)
        elif known in schema.names:
            label = label_column(schema, file, image, known)
        else:
            labels = [] if config.label else label_columns(schema, image)
            label = label_column(schema, file, image) if labels else None
        used: frozenset[_Label] = frozenset()
        if label is not None:
            used = frozenset(parquet.read([label])[label].unique().to_pylist())
        names = None if label is None else class_names(schema, file, label)
        return _Table(file, image, label, used, names, parquet.metadata.num_rows, recordings, group)


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, memory_map=True)
    except (OSError, pa.ArrowException) as err:
        raise DataError(f"{file} is not a readable Parquet file ({err})") from None


def _identify(table: _Table) -> Iterator[str]:
    yield file_identity(table.file)
    yield f"{table.image} {table.label}" + (f" {table.group} {table.held_out}" if table.group or table.held_out else "")
    with _open(table.file) as parquet:
        for image in referenced_images(parquet, table.image, table.file):
            yield file_identity(image)


def _classes(path: Path, tables: list[_Table], unused: UnusedLabels) -> Classes:
    named = [table for table in tables if table.names is not None]
    names = named[0].names if named else None
    for table in named:
        if table.names != names:
            raise DataError(f"{table.file} and {named[0].file} have different class names")
    used = frozenset[_Label]().union(*(table.used for table in tables))
    words = {label for label in used if isinstance(label, str | bool)}
    if not words:
        return number_classes(path, {label for label in used if isinstance(label, int)}, names, unused)
    if any(label is not None and not isinstance(label, str | bool) for label in used):
        raise DataError(f"{path}: some files have integers as labels, others text; store one kind")
    texts = {str(word) for word in words}
    if names is None:
        names = tuple(sorted(texts))
    elif unknown := texts - set(names):
        raise DataError(
            f"{path}: the label '{min(unknown)}' is not one of the class names. {nearest(min(unknown), names)}"
        )
    names = tuple(name for name in names if name in texts) if unused == "drop" else names
    return Classes(names, {name: number for number, name in enumerate(names)})


def _rows(tables: list[_Table], numbers: Mapping[int | str, int]) -> Iterator[Row]:
    for table in tables:
        number = 0
        assert table.label is not None
        columns = [table.image, table.label, *filter(None, [table.group])]
        with _open(table.file) as parquet:
            shape = pixels_shape(parquet.schema_arrow.field(table.image))
            try:
                for batch in parquet.iter_batches(256, columns=columns):
                    cells, labels = list_cells(batch[table.image], shape), batch[table.label].to_pylist()
                    groups = batch[table.group].to_pylist() if table.group else [None] * len(cells)
                    for cell, label, named in zip(cells, labels, groups, strict=True):
                        if isinstance(label, str | bool):
                            label = str(label)
                        where = f"{table.file} row {number}"
                        group = read_group(cell, named, where) if table.recordings else ""
                        image = read_image(cell, table.file)
                        yield Row(where, image, numbers.get(label, label), group, table.held_out)
                        number += 1
            except (OSError, ValueError, pa.ArrowException) as err:
                raise DataError(f"{table.file} cannot be read after row {number} ({err})") from None
