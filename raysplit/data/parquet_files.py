"""Which Parquet files of a folder are which split: as `data.splits` says, or as their names tell."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from raysplit.config import DataSplits
from raysplit.data.schema import warn_once
from raysplit.errors import DataError

_TRAIN = ("train", "training")
_VALIDATION = ("validation", "val", "valid", "dev")
_TEST = ("test", "testing", "eval", "evaluation")
SPLIT_NAMES = (*_TRAIN, *_VALIDATION, *_TEST)
"""What files and folders of a split are called."""
_MOST_NAMED = 6


@dataclass(frozen=True)
class SplitFiles:
    """The files of each split; without validation and test files, the test split is cut from train."""

    train: tuple[Path, ...]
    validation: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()


def find_files(path: Path, splits: DataSplits | None) -> SplitFiles:
    """Return the files of one Parquet file, which is all train, or of a folder: those that `splits` names, else
    train.parquet, shards train-00000-of-00002.parquet and folders train/ of any *.parquet, and the other splits alike;
    in the folder itself, in data/, in default/ or in the only other folder in it that has a training split.

    Raises DataError for a missing path or shard, for names that match no file, for a file in two splits, and where the
    splits cannot be told.
    """
    if path.is_file():
        if splits is not None:
            raise DataError(
                f"data.splits names files of a folder, and {path} is a file; use parquet:{path.parent}, or leave it out"
            )
        return SplitFiles((path,))
    if not path.is_dir():
        raise DataError(f"{path} does not exist; parquet:PATH takes a folder or one .parquet file")
    return _tell(path) if splits is None else _named(path, splits)


def validation_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a folder that `find_files` takes for its validation split, by their names."""
    return _shards([folder, folder / "data", folder / "default"], _VALIDATION)


def _named(root: Path, splits: DataSplits) -> SplitFiles:
    train, validation, test = (
        _matches(root, f"data.splits.{split}", splits.patterns(split)) for split in ("train", "validation", "test")
    )
    found = SplitFiles(train, validation, test)
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if twice := set(getattr(found, one)) & set(getattr(found, other)):
            raise DataError(f"{min(twice)} is in data.splits.{one} and in data.splits.{other}; put it into one of them")
    return found


def _matches(root: Path, setting: str, patterns: Iterable[str]) -> tuple[Path, ...]:
    """Return the files that paths and globs name, each once; a folder stands for the *.parquet in it."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        whole = root / Path(pattern).expanduser()
        places = [whole] if whole.exists() else []
        places = places or sorted(map(Path, glob.glob(pattern, root_dir=root, recursive=True)))
        places = [root / place for place in places]
        files = [file for place in places for file in (sorted(place.glob("*.parquet")) if place.is_dir() else [place])]
        if not files:
            raise DataError(f"{setting}: '{pattern}' names no file in {root}; it has {_list(_below(root))}")
        found |= dict.fromkeys(files)
    return tuple(found)


def _tell(path: Path) -> SplitFiles:
    homes = [path, path / "data", path / "default"]
    train = _shards(homes, _TRAIN)
    if not train:
        # The name of a configuration, as in Hugging Face's conversion: plain_text/train/0000.parquet.
        others = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _shards([folder], _TRAIN)]
        if len(others) != 1:
            raise _cannot_tell(path)
        homes = others
        train = _shards(homes, _TRAIN)
    found = SplitFiles(train, _shards(homes, _VALIDATION), _shards(homes, _TEST))
    used = {*found.train, *found.validation, *found.test}
    if unused := [file for home in homes for file in sorted(home.glob("*.parquet")) if file not in used]:
        if not found.validation and not found.test:
            raise _cannot_tell(path)
        warn_once(f"{path}: ignored {_list([file.relative_to(path) for file in unused])}; data.splits names files")
    return found


def _shards(homes: Iterable[Path], names: Iterable[str]) -> tuple[Path, ...]:
    for name in names:
        for folder in homes:
            if (folder / f"{name}.parquet").is_file():
                return (folder / f"{name}.parquet",)
            shards = sorted(folder.glob(f"{name}-*-of-*.parquet"))
            if shards:
                total = re.search(r"-of-(\d+)", shards[0].name)
                if total and len(shards) != int(total[1]):
                    raise DataError(
                        f"{folder} has {len(shards)} of the {int(total[1])} files {name}-*.parquet; fetch the others, "
                        "or name those of each split, for example data.splits={train: 'data/train-*.parquet'}"
                    )
                return tuple(shards)
            # As Hugging Face converts data sets (0000.parquet), and as Ray Data writes them.
            if files := sorted((folder / name).glob("*.parquet")):
                return tuple(files)
    return ()


def _cannot_tell(path: Path) -> DataError:
    files = _below(path)
    if not files:
        return DataError(f"{path} has no file *.parquet; name others, for example data.splits={{train: 'part-*.pq'}}")
    train = next((file for file in files if "train" in str(file)), files[0])
    rest = [file for file in files if file != train]
    example = f"train: '{train}'" + (f", test: '{rest[-1]}'" if rest else "")
    return DataError(
        f"{path}: cannot tell which files are which split; it has {_list(files)}: name them, for example "
        f"data.splits={{{example}}}"
    )


def _below(path: Path) -> list[Path]:
    return [file.relative_to(path) for file in sorted(path.rglob("*.parquet"))]


def _list(files: list[Path]) -> str:
    more = f", … ({len(files)} in all)" if len(files) > _MOST_NAMED else ""
    return (", ".join(map(str, files[:_MOST_NAMED])) or "no *.parquet") + more
