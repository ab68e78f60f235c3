"""Class folders: every file of a kind below a class's folder is read; what is ignored is named and counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from raysplit.data.schema import Part, Row, Source, draw_test_rows, file_identity, warn_once
from raysplit.errors import DataError
from raysplit.records.summary import SplitName

_HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")
_EMPTY = "empty folder"


@dataclass(frozen=True)
class FileKind:
    """What class folders hold."""

    noun: str
    one: str
    """The noun with its article."""
    suffixes: frozenset[str]
    example: str
    held_out: str
    """What is drawn as the test split where there is no test folder."""


Draw = Callable[[Mapping[str, Sequence[Path]]], set[Path]]
"""Return which files of a training folder, given class by class, are the test split where there is no test folder."""

_IMAGES = ".png .jpg .jpeg .jpe .jfif .webp .gif .bmp .dib .tif .tiff .avif .heic .heif"
IMAGES = FileKind("image", "an image", frozenset(_IMAGES.split()), "*.png or *.jpg", "a fifth of each class")
"""Of the formats that `raysplit.data.decode` reads."""


@dataclass(frozen=True)
class FolderSplit:
    """The files of one split, class by class."""

    folder: Path
    where: str
    """The folder and, where it holds both splits, which of them."""
    classes: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]
    """With the numbers of their classes."""
    taken_from: SplitName


def folder_part(path: Path, split: Source) -> Part:
    """Read the images that `read_split` finds, a fifth of each class held out where there is no test folder.

    Raises as it does, and DataError if classes are too small to hold a fifth out.
    """
    found = read_split(path, split, IMAGES, partial(_draw, path))
    return Part(
        found.where,
        found.classes,
        tuple(file_identity(file) for file, _ in found.files),
        len(found.files),
        found.taken_from,
        lambda: (Row(str(file), file, label) for file, label in found.files),
    )


def read_split(path: Path, split: Source, kind: FileKind, draw: Draw) -> FolderSplit:
    """Return the files below path/train/CLASS and path/test/CLASS (or path/val); labels number the classes by name.

    Without a test folder the files of train that `draw` returns, with a fixed seed, are the test split, training goes
    without them, and a warning says so; another says that val beside test is not read. Hidden files, files of another
    kind, empty folders and class folders without a file are ignored; a warning names and counts them. Raises DataError
    if there is no folder train, if a class folder has files but none of the kind, or if the test folder has a class
    that train does not have.
    """
    train = path / "train"
    if not train.is_dir():
        raise DataError(f"{path} has no folder train; expected {path}/train/CLASS/{kind.example}, and test/ alike")
    ignored: Counter[str] = Counter()
    by_class = files_by_class(train, kind, ignored)
    classes = tuple(by_class)
    test = find_test_folder(path)
    folder, where = train, str(train)
    if test is None:
        warn_once(
            f"{path} has no folder test (or val); {kind.held_out} in train, drawn with a fixed seed, serves as the "
            "test split, and training goes without it"
        )
        drawn = draw(by_class)
        where = f"{train} ({split})"
        by_class = {
            name: [file for file in files if (file in drawn) == (split == "test")] for name, files in by_class.items()
        }
    elif test.name == "test" and (path / "val").is_dir():
        warn_once(f"{path / 'val'} is not read: data.val_fraction of the training split is held out instead")
    if test is not None and split == "test":
        ignored.clear()
        folder, where, by_class = test, str(test), _files_by_class(test, kind, ignored)
        for name in by_class:
            if name not in classes:
                raise DataError(f"{folder / name}: no such class in {train}, which has {len(classes)} classes")
    if split == "test" and (lacking := [name for name in classes if not by_class.get(name)]):
        warn_once(
            f"{where} has no {kind.noun} of {len(lacking)} of {len(classes)} classes ({', '.join(lacking[:10])}"
            f"{', …' if len(lacking) > 10 else ''}), so the accuracy says nothing of them"
        )
    warn_of_ignored(folder, ignored)
    files = tuple((file, label) for label, name in enumerate(classes) for file in by_class.get(name, ()))
    taken_from: SplitName = "train"
    if split == "test" and test is not None:
        taken_from = "test" if test.name == "test" else "validation"
    return FolderSplit(folder, where, classes, files, taken_from)


def find_test_folder(path: Path) -> Path | None:
    """Return path/test, else path/val, else None."""
    return next((path / name for name in ("test", "val") if (path / name).is_dir()), None)


def _draw(path: Path, by_class: Mapping[str, Sequence[Path]]) -> set[Path]:
    """Return a fifth of the images of each class."""
    drawn: set[Path] = set()
    for files in by_class.values():
        drawn.update(file for file, is_test in zip(files, draw_test_rows(len(files)), strict=True) if is_test)
    if not drawn:
        raise DataError(
            f"no class in {path}/train has the three images of which a fifth can be held out; add some, or put images "
            f"for the test in {path}/test/CLASS"
        )
    return drawn


def warn_of_ignored(folder: Path, ignored: Counter[str]) -> None:
    """Say what is left out of a folder, once."""
    if ignored:
        warn_once(f"{folder}: ignored " + ", ".join(f"{count} {what}" for what, count in sorted(ignored.items())))


def files_by_class(folder: Path, kind: FileKind, ignored: Counter[str]) -> dict[str, list[Path]]:
    """Return the files of each class that has some, in order; count in `ignored` what is left out.

    Raises DataError as `read_split`, and if there is none.
    """
    found = _files_by_class(folder, kind, ignored)
    if not found:
        raise DataError(f"{folder} has no class folder with {kind.one}; expected {folder}/CLASS/{kind.example}")
    return found


def _files_by_class(split: Path, kind: FileKind, ignored: Counter[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for entry in _entries(split):
        if not _is_text(entry.name):
            raise DataError(f"{split}: the folder name {entry.name!a} is not UTF-8; rename it, it names a class")
        if _is_hidden(entry.name):
            ignored[f"hidden ({entry.name})"] += 1
        elif not entry.is_dir():
            ignored["outside of class folders"] += 1
        else:
            others: Counter[str] = Counter()
            files = _files_below(entry, kind, others)
            if not files and any(not what.startswith(("hidden", _EMPTY)) for what in others):
                names = ", ".join(f"{count} {what}" for what, count in sorted(others.items()))
                raise DataError(
                    f"{entry} has no {kind.noun} ({names}); {kind.noun}s end in {', '.join(sorted(kind.suffixes))}: "
                    "convert them, or move the folder away"
                )
            ignored.update(others)
            if files:
                found[entry.name] = files
            else:
                ignored[f"class folder without {kind.noun}s ({entry.name})"] += 1
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as err:
        raise DataError(f"{folder} cannot be read ({err.strerror}); check its permissions") from None


def _files_below(folder: Path, kind: FileKind, ignored: Counter[str]) -> list[Path]:
    def refuse(err: OSError) -> None:
        raise DataError(f"{err.filename} cannot be read ({err.strerror})")

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        if not folders and not files and Path(parent) != folder:
            ignored[f"{_EMPTY} ({Path(parent).name})"] += 1
        for name in list(folders):
            if _is_hidden(name):
                folders.remove(name)
                ignored[f"hidden ({name})"] += 1
            elif Path(parent, name).is_symlink():
                ignored["links to folders below a class folder"] += 1
        for name in files:
            suffix = Path(name).suffix.lower()
            if _is_hidden(name):
                ignored[f"hidden ({name})"] += 1
            elif suffix not in kind.suffixes:
                ignored[suffix or "without a suffix"] += 1
            else:
                found.append(Path(parent, name))
    return sorted(found)


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8: Python holds bytes that are not as lone surrogates, which no record can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _HIDDEN
