"""A split as tensors, and the facts about a data set that are known before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from raysplit.config import AudioConfig, DataConfig
from raysplit.data.audio_folders import audio_part
from raysplit.data.cache import load_cached
from raysplit.data.catalogue import CATALOGUE
from raysplit.data.clips import Clips, split_clips
from raysplit.data.decode import decode, read_shape
from raysplit.data.decoded import odd_shape
from raysplit.data.folders import folder_part
from raysplit.data.memory import data_in_memory, decode_memory, memory_part
from raysplit.data.named import imagenet100_folder, named_part
from raysplit.data.parquet import parquet_part
from raysplit.data.schema import BadRow, Part, Source, warn_once
from raysplit.errors import DataError, nearest
from raysplit.records.summary import SplitName
from raysplit.torch_utils.seeds import generator

_COMPARED_ROWS = 1_000
"""Files whose headers are compared before training, which compares all of them."""


@dataclass(frozen=True)
class Facts:
    """What a run needs to know about its data before loading them; bad rows are counted like good ones.

    Rows are images, and of recordings their chunks.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """(C, H, W) after config.size and config.channels."""
    train_rows: int
    """After val_fraction and train_rows."""
    val_rows: int
    test_rows: int
    test_from: SplitName = "test"
    """The split that the test images are from: validation or a part of train, where no test split has labels."""


@dataclass(frozen=True)
class ImageSet:
    """A split: images uint8 (N, C, H, W), memory-mapped or copied; labels int64 (N,).

    >>> ImageSet(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), torch.zeros(5).long(), ("no", "yes"), skipped=0).raw_bytes
    320
    """

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]
    skipped: int
    """Bad rows left out of the source's split (on_bad_rows="skip"), the validation part included."""
    taken_from: SplitName = "train"
    """The source's split that the images are from."""
    clips: Clips | None = None
    """Of recordings: which rows are the chunks of one."""

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """How many rows each recording has; None where every row stands for itself."""
        counts = () if self.clips is None else tuple(self.clips.chunks.tolist())
        return counts if set(counts) - {1} else None

    @property
    def raw_bytes(self) -> int:
        """Bytes of the images as raw uint8."""
        return self.images.numel()


def read_facts(config: DataConfig) -> Facts:
    """Return the facts about a data set: from the catalogue, if it is there, else from its files and one image.

    Recordings are decoded for it, once: only then it is known how many chunks they have. Raises DataError for an
    unknown name, missing files, too few rows for config.val_fraction, and, without a config.size, images whose shapes
    differ: the headers of the first 1,000 files are compared.

    >>> facts = read_facts(DataConfig(name="cifar10"))
    >>> facts.shape, facts.train_rows, facts.val_rows
    ((3, 32, 32), 45000, 5000)
    """
    if config.audio is not None:
        return _facts_of_recordings(config, config.audio)
    known = CATALOGUE.get(config.name)
    test_from: SplitName = "test"
    if known and not (config.name == "imagenet100" and imagenet100_folder(config).is_dir()):
        size = _needed_size(config)
        shape = (config.channels or known.channels, size, size)
        classes, rows, test_rows = known.classes, known.train_rows, known.test_rows
    else:
        part, test = find_part(config, "train"), find_part(config, "test")
        for one in (part, test):
            if not one.count:
                raise DataError(f"{one.where} has no rows")
        shape, classes, rows, test_rows = _common_shape(part, config), part.classes, part.count, test.count
        test_from = test.taken_from
        _warn_of_one_class(part.where, classes)
    train_rows, val_rows = _cut(rows, config)
    return Facts(config.name, classes, shape, train_rows, val_rows, test_rows, test_from)


def load(config: DataConfig, split: Literal["train", "val", "test"]) -> ImageSet:
    """Return a split; train and val are disjoint parts of the source's train split, shuffled by split_seed.

    Of recordings, all chunks of a speaker or song are in one of them, and those of a recording follow each other. Test
    is in the source's order and, if it comes from files, memory-mapped; train and val are copies. Raises DataError,
    which names file and row, for anything in the data that cannot be used.

    >>> pairs = [(torch.rand(1, 8, 8), index % 2) for index in range(50)]
    >>> data = DataConfig(dataset=pairs, val_fraction=0.25)
    >>> [len(load(data, split).labels) for split in ("train", "val", "test")]
    [30, 10, 10]
    """
    full = load_source(config, "test" if split == "test" else "train")
    return full if split == "test" else take_items(full, split_items(full, config, split))


def split_items(full: ImageSet, config: DataConfig, split: Literal["train", "val"]) -> torch.Tensor:
    """Return which images (of recordings, which clips) of a source's training split are in `split`, in its order."""
    if full.clips is not None:
        return split_clips(full.clips, config)[split == "val"]
    train_rows, val_rows = _cut(len(full.labels), config)
    order = torch.randperm(len(full.labels), generator=generator("split", config.split_seed))
    return order[:val_rows] if split == "val" else order[val_rows : val_rows + train_rows]


def take_items(full: ImageSet, items: torch.Tensor) -> ImageSet:
    """Return some images (of recordings, some clips) of a split, as copies."""
    if full.clips is not None:
        return _take_clips(full, full.clips, items)
    return replace(full, images=full.images[items], labels=full.labels[items])


def load_source(config: DataConfig, split: Source) -> ImageSet:
    """Return a source's split, train with the validation part; memory-mapped, unless the config holds it in memory.

    >>> pairs = [(torch.rand(1, 8, 8), index % 2) for index in range(50)]
    >>> load_source(DataConfig(dataset=pairs), "train").images.shape
    torch.Size([40, 1, 8, 8])
    """
    part, memory = find_part(config, split), data_in_memory(config)
    decoded = load_cached(part, config, _channels(config)) if memory is None else decode_memory(memory, config, split)
    return ImageSet(decoded.images, decoded.labels, part.classes, decoded.skipped, part.taken_from, decoded.clips)


def _take_clips(full: ImageSet, clips: Clips, chosen: torch.Tensor) -> ImageSet:
    rows = clips.rows(chosen)
    taken = Clips(clips.chunks[chosen], clips.groups[chosen], clips.held_out[chosen])
    return replace(full, images=full.images[rows], labels=full.labels[rows], clips=taken)


def _facts_of_recordings(config: DataConfig, audio: AudioConfig) -> Facts:
    full, test = load_source(config, "train"), load_source(config, "test")
    assert full.clips is not None
    train_rows, val_rows = (int(full.clips.chunks[clips].sum()) for clips in split_clips(full.clips, config))
    _warn_of_one_class(config.name, full.classes)
    return Facts(config.name, full.classes, audio.shape, train_rows, val_rows, len(test.labels), test.taken_from)


def _warn_of_one_class(where: str, classes: tuple[str, ...]) -> None:
    if len(classes) == 1:
        warn_once(f"{where} has one class, '{classes[0]}': every answer is right, and nothing is learned")


def find_part(config: DataConfig, split: Source) -> Part:
    """Return one split of a data set, not yet decoded; DataError for one that is unknown or missing."""
    memory = data_in_memory(config)
    if memory is not None:
        return memory_part(memory, config, split)
    kind, _, path = config.name.partition(":")
    if path and kind == "folder":
        return folder_part(Path(path).expanduser(), split)
    if path and kind == "parquet":
        return parquet_part(config, split)
    if path and kind == "audio":
        return audio_part(config, split)
    if config.name not in CATALOGUE:
        hint = nearest(config.name, CATALOGUE)
        raise DataError(f"unknown data set '{config.name}'. {hint} Your own: folder:PATH, parquet:PATH or audio:PATH.")
    _needed_size(config)
    return named_part(config, split)


def _channels(config: DataConfig) -> int | None:
    known = CATALOGUE.get(config.name)
    return config.channels or (known.channels if known else None)


def _needed_size(config: DataConfig) -> int:
    size = config.size or CATALOGUE[config.name].size
    if size is None:
        raise DataError(f"the images of {config.name} differ in size; set data.size, for example data.size=64")
    return size


def _common_shape(part: Part, config: DataConfig) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of the first good row; of files without a size, the next ones must have it too."""
    channels = _channels(config)
    if config.size and channels:
        return channels, config.size, config.size
    first: tuple[int, int, int] | None = None
    for index, row in enumerate(part.rows()):
        stored = config.size is None and isinstance(row.image, (bytes, Path))
        try:
            if first is None:
                channels_first = decode(row.image, config.size, channels).shape
                first = (channels_first[0], channels_first[1], channels_first[2])
            elif isinstance(row.image, (bytes, Path)) and (shape := read_shape(row.image, channels)) != first:
                raise DataError(odd_shape(row.where, shape, first))
        except BadRow as err:
            if config.on_bad_rows == "raise":
                raise DataError(f"{row.where}: {err}. data.on_bad_rows=skip leaves such rows out") from None
        if first is not None and (not stored or index >= _COMPARED_ROWS):
            return first
    if first is None:
        raise DataError(f"{part.where} has no good row")
    return first


def _cut(rows: int, config: DataConfig) -> tuple[int, int]:
    val = round(rows * config.val_fraction)
    if not 0 < val < rows:
        raise DataError(
            f"{config.name}: data.val_fraction={config.val_fraction} of {rows} rows leaves {val} to validate "
            f"on and {rows - val} to train on; both need at least one"
        )
    return min(rows - val, config.train_rows or rows), val
