"""Reader for class folders: every image below a class's folder is read, and what is ignored is counted and named."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from raysplit.data.schema import Part, Row, Source, draw_test_rows, file_identity, warn_once
from raysplit.errors import DataError

_IMAGES = ".png .jpg .jpeg .jpe .jfif .webp .gif .bmp .dib .tif .tiff .avif .heic .heif"
SUFFIXES = frozenset(_IMAGES.split())
"""Of the formats that `raysplit.data.decode` reads."""
_HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")
_EMPTY = "empty folder"


def folder_part(path: Path, split: Source) -> Part:
    """Read the images below path/train/CLASS and path/test/CLASS (or path/val); labels number the classes by name.

    Without a test folder a fifth of each class in train, drawn with a fixed seed, is the test split, training goes
    without it, and a warning says so. Hidden files, files that are no images, empty folders and class folders without a
    file are ignored; a warning names and counts them. Raises DataError if there is no folder train, if a class folder
    has files but no image, if the test folder has a class that train does not have, or if there is none and classes
    are too small to hold a fifth out.
    """
    train = path / "train"
    if not train.is_dir():
        raise DataError(f"{path} has no folder train; expected {path}/train/CLASS/*.png or *.jpg, and test/ alike")
    ignored: Counter[str] = Counter()
    by_class = _images_by_class(train, ignored)
    classes = tuple(by_class)
    if not classes:
        raise DataError(f"{train} has no class folder with an image; expected {train}/CLASS/*.png or *.jpg")
    test = find_test_folder(path)
    folder, where = train, str(train)
    if test is None:
        warn_once(
            f"{path} has no folder test (or val); a fifth of each class in train, drawn with a fixed seed, serves as "
            "the test split, and training goes without it"
        )
        where, by_class = f"{train} ({split})", {name: _draw(files, split) for name, files in by_class.items()}
        if not any(by_class.values()):
            raise DataError(
                f"no class in {train} has the three images of which a fifth can be held out; add some, or put images "
                f"for the test in {path}/test/CLASS"
            )
    elif split == "test":
        ignored.clear()
        folder, where, by_class = test, str(test), _images_by_class(test, ignored)
        for name in by_class:
            if name not in classes:
                raise DataError(f"{folder / name}: no such class in {train}, which has {len(classes)} classes")
    if split == "test" and (lacking := [name for name in classes if not by_class.get(name)]):
        warn_once(
            f"{where} has no image of {len(lacking)} of {len(classes)} classes ({', '.join(lacking[:10])}"
            f"{', …' if len(lacking) > 10 else ''}), so the accuracy says nothing of them"
        )
    if ignored:
        warn_once(f"{folder}: ignored " + ", ".join(f"{count} {what}" for what, count in sorted(ignored.items())))
    files = [(file, label) for label, name in enumerate(classes) for file in by_class.get(name, ())]
    return Part(
        where,
        classes,
        tuple(file_identity(file) for file, _ in files),
        len(files),
        "train" if split == "train" or test is None else "test" if test.name == "test" else "validation",
        lambda: (Row(str(file), file, label) for file, label in files),
    )


def find_test_folder(path: Path) -> Path | None:
    """Return path/test, else path/val, else None."""
    return next((path / name for name in ("test", "val") if (path / name).is_dir()), None)


def _draw(files: list[Path], split: Source) -> list[Path]:
    """Return the files of a class that are in a split of data without a test folder."""
    is_test = draw_test_rows(len(files))
    return [file for file, drawn in zip(files, is_test, strict=True) if drawn == (split == "test")]


def _images_by_class(split: Path, ignored: Counter[str]) -> dict[str, list[Path]]:
    """Return the images of each class that has some, in order; count in `ignored` what is left out."""
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
            images = _images_below(entry, others)
            if not images and any(not what.startswith(("hidden", _EMPTY)) for what in others):
                names = ", ".join(f"{count} {what}" for what, count in sorted(others.items()))
                raise DataError(
                    f"{entry} has no image ({names}); images end in {', '.join(sorted(SUFFIXES))}: convert them, or "
                    "move the folder away"
                )
            ignored.update(others)
            if images:
                found[entry.name] = images
            else:
                ignored[f"class folder without images ({entry.name})"] += 1
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as err:
        raise DataError(f"{folder} cannot be read ({err.strerror}); check its permissions") from None


def _images_below(folder: Path, ignored: Counter[str]) -> list[Path]:
    def refuse(err: OSError) -> None:
        raise DataError(f"{err.filename} cannot be read ({err.strerror})")

    images = []
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
            elif suffix not in SUFFIXES:
                ignored[suffix or "without a suffix"] += 1
            else:
                images.append(Path(parent, name))
    return sorted(images)


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8: Python holds bytes that are not as lone surrogates, which no record can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _HIDDEN
