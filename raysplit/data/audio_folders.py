"""Reader for class folders of recordings, and for the lists that come with Speech Commands and GTZAN."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from raysplit.config import DataConfig
from raysplit.data.folders import FileKind, FolderSplit, files_by_class, read_split, warn_of_ignored
from raysplit.data.parquet_files import SPLIT_NAMES
from raysplit.data.schema import Part, Row, Source, draw_test_groups, file_identity, warn_once
from raysplit.errors import DataError
from raysplit.records.summary import SplitName

_SUFFIXES = ".wav .wave .flac .aif .aiff .aifc .au .snd .ogg .oga .opus .mp3"
RECORDINGS = FileKind(
    "recording", "a recording", frozenset(_SUFFIXES.split()), "*.wav or *.flac", "a fifth of the speakers or songs"
)
"""Of the formats that `raysplit.data.audio_file` reads."""
LISTS: dict[SplitName, tuple[str, ...]] = {
    "train": ("training_list.txt", "train_filtered.txt"),
    "validation": ("validation_list.txt", "valid_filtered.txt"),
    "test": ("testing_list.txt", "test_filtered.txt"),
}
"""Files that name the recordings of a split, a line each: those of Speech Commands, and the fault-filtered ones of
GTZAN (Sturm 2013; github.com/jongpillee/music_dataset_split)."""
_NOISE = "_background_noise_"
"""A folder of Speech Commands that is no class."""
_SPEAKER = re.compile(r"^([^/]+)_nohash_\d+$")
"""Speech Commands' names of files, without their suffix."""


@dataclass(frozen=True)
class Recording:
    """A file with what its row needs."""

    file: Path
    label: int
    group: str
    held_out: bool = False


def audio_part(config: DataConfig, split: Source) -> Part:
    """Read the recordings of path/train/CLASS and path/test/CLASS, or those of path/CLASS.

    Where there are no folders of splits, the lists beside the class folders say which recording is of which split (one
    that an existing train list leaves out is not used). Without a test folder or a test list, a fifth of the speakers
    or songs, drawn with a fixed seed, is the test split. Labels number the classes by name. Raises DataError as
    `raysplit.data.folders.read_split`, for a group that cannot be told, where all are of one group and none can be held
    out, and for lists that do not fit the files.
    """
    path = Path(config.name.partition(":")[2]).expanduser()
    if (path / "train").is_dir():
        draw = partial(_draw, path / "train", config)
        found = read_split(path, split, RECORDINGS, draw)
        where, classes, taken_from = found.where, found.classes, found.taken_from
        rows = [Recording(file, label, group_of(file, found.folder, config)) for file, label in found.files]
        if split == "test" and taken_from != "train":
            _warn_of_shared(path, found.folder, rows, read_split(path, "train", RECORDINGS, draw), config)
    else:
        where, (classes, taken_from, rows) = str(path), _read_tree(path, config, split)
    identity = tuple(f"{file_identity(row.file)} {row.group} {row.held_out}" for row in rows)
    return Part(where, classes, identity, len(rows), taken_from, lambda: _rows(rows))


def group_of(file: Path, folder: Path, config: DataConfig) -> str:
    """Return the speaker or song of a recording below folder/CLASS; without a rule for it, its own path.

    >>> group_of(Path("words/yes/anna_nohash_0.wav"), Path("words"), DataConfig(name="audio:words"))
    'anna'
    """
    below = file.relative_to(folder)
    if config.group is None:
        return speaker_in_name(below) or below.as_posix()
    inside = PurePosixPath(*below.parts[1:]).as_posix()
    match = re.search(config.group, inside)
    if match is None:
        raise DataError(
            f"{file}: data.group='{config.group}' is not found in '{inside}', so its speaker or song is unknown"
        )
    return match[1 if match.re.groups else 0] or ""


def speaker_in_name(path: Path) -> str | None:
    """Return the speaker in a file name like those of Speech Commands, SPEAKER_nohash_N; None in any other.

    >>> speaker_in_name(Path("yes/anna_nohash_0.wav")), speaker_in_name(Path("blues/blues.00007.wav"))
    ('anna', None)
    """
    match = _SPEAKER.match(path.stem)
    return match[1] if match else None


def _draw(train: Path, config: DataConfig, by_class: Mapping[str, Sequence[Path]]) -> set[Path]:
    """Return the recordings of a fifth of the speakers or songs."""
    recordings = [file for files in by_class.values() for file in files]
    drawn = draw_test_groups(train, [group_of(file, train, config) for file in recordings])
    return {file for file, is_test in zip(recordings, drawn, strict=True) if is_test}


def _rows(rows: list[Recording]) -> Iterator[Row]:
    return (Row(str(row.file), row.file, row.label, row.group, row.held_out) for row in rows)


def _read_tree(path: Path, config: DataConfig, split: Source) -> tuple[tuple[str, ...], SplitName, list[Recording]]:
    """Return the classes of a folder of class folders, where its test split is from, and the recordings of a split."""
    if not path.is_dir():
        raise DataError(f"{path} does not exist; audio:PATH takes a folder of class folders with recordings")
    ignored: Counter[str] = Counter()
    by_class = files_by_class(path, RECORDINGS, ignored)
    for name, files in by_class.items():
        if name in SPLIT_NAMES and any(file.parent != path / name for file in files):
            raise DataError(
                f"{path} has a folder {name} with folders in it, and no folder train: put the class folders of the "
                f"training split into {path}/train, or rename {name} if it is a class"
            )
    if by_class.pop(_NOISE, None):
        ignored[f"no class ({_NOISE})"] += 1
    classes = tuple(by_class)
    everything = [
        Recording(file, label, group_of(file, path, config))
        for label, files in enumerate(by_class.values())
        for file in files
    ]
    listed = {name: _read_list(path, name, everything) for name in LISTS}
    ignored["outside of class folders"] -= sum((path / name).is_file() for names in LISTS.values() for name in names)
    train, validation, test = listed["train"], listed["validation"], listed["test"]
    taken_from: SplitName = "test"
    if test is None:
        free = [row for row in everything if row.file not in (validation or ()) and (not train or row.file in train)]
        drawn = draw_test_groups(path, [row.group for row in free])
        test, taken_from = {row.file for row, one in zip(free, drawn, strict=True) if one}, "train"
    if train is not None:
        known = train | test | (validation or set())
        ignored["in none of the lists"] += sum(row.file not in known for row in everything)
        everything = [row for row in everything if row.file in known]
    warn_of_ignored(path, +ignored)
    kept = [row for row in everything if (row.file in test) == (split == "test")]
    if validation and split == "train":
        kept = [Recording(row.file, row.label, row.group, row.file in validation) for row in kept]
    return classes, split if split == "train" else taken_from, kept


def _read_list(path: Path, split: SplitName, rows: list[Recording]) -> set[Path] | None:
    """Return the files that the list of a split names; None where there is no such list."""
    file = next((path / name for name in LISTS[split] if (path / name).is_file()), None)
    if file is None:
        return None
    by_name = {_without_suffix(row.file.relative_to(path)): row.file for row in rows}
    alone = Counter(PurePosixPath(name).name for name in by_name)
    by_name |= {short: found for name, found in by_name.items() if alone[short := PurePosixPath(name).name] == 1}
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, ValueError) as err:
        raise DataError(f"{file} is not a readable list of recordings ({err})") from None
    wanted = [_without_suffix(Path(line.strip())) for line in lines if line.strip()]
    found = {by_name[name] for name in wanted if name in by_name}
    if not found:
        raise DataError(f"{file} names no recording below {path}; it is for other files: move it away")
    if lacking := [name for name in wanted if name not in by_name]:
        warn_once(f"{file} names {len(lacking)} recordings that are not there, for example {lacking[0]}")
    return found


def _without_suffix(path: Path) -> str:
    """Return a path without a recording's suffix: GTZAN comes as .au and as .wav, and has dots in its names."""
    return (path.with_suffix("") if path.suffix.lower() in RECORDINGS.suffixes else path).as_posix()


def _warn_of_shared(path: Path, folder: Path, test: list[Recording], train: FolderSplit, config: DataConfig) -> None:
    """Say that some speakers or songs are in both splits, where names tell them."""
    groups = {group_of(file, train.folder, config) for file, _ in train.files}
    named = {row.group for row in test if row.group != row.file.relative_to(folder).as_posix()}
    if shared := sorted(groups & named):
        warn_once(
            f"{path}: {len(shared)} speakers or songs are in train and in {folder.name}, for example {shared[0]}: the "
            "accuracy is higher than for new ones"
        )
