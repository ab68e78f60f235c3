"""Decoded images and recordings on disk: each source is decoded once, then memory-mapped."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch
from filelock import FileLock

from raysplit.config import DataConfig
from raysplit.data.clips import Clips
from raysplit.data.decoded import Decoded, decode_rows
from raysplit.data.schema import Part
from raysplit.errors import DataError

_FORMAT = 2
"""Part of every key; increment it when the same source would be decoded to other pixels."""


def cache_dir() -> Path:
    """Return the folder of decoded images and downloads: $RAYSPLIT_CACHE, else ~/.cache/raysplit."""
    return Path(os.environ.get("RAYSPLIT_CACHE") or "~/.cache/raysplit").expanduser()


def load_cached(part: Part, config: DataConfig, channels: int | None) -> Decoded:
    """Return a part's images, memory-mapped, and labels; decode them if they are not in the cache.

    Raises DataError for a bad row (unless config.on_bad_rows is "skip"), for images that differ in shape,
    for a part without a good row and for a cache that cannot be written.
    """
    if not part.count:
        raise DataError(f"{part.where} has no rows")
    key: list[object] = [_FORMAT, part.identity, part.classes, config.size, channels, config.on_bad_rows]
    if config.audio is not None:
        key.append(config.audio.model_dump())
    stem = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / f"{stem}.json").exists():
            # One lock for each source: processes that start together download and decode it once.
            source = hashlib.sha256(config.name.encode()).hexdigest()[:16]
            with FileLock(folder / f"{source}.lock"):
                if not (folder / f"{stem}.json").exists():
                    _build(part, config, channels, folder / stem)
    except OSError as err:
        raise DataError(
            f"cannot write decoded images to {folder} ({err}); set RAYSPLIT_CACHE to a folder with free space"
        ) from None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images = torch.from_numpy(np.load(folder / f"{stem}.images.npy", mmap_mode="r"))
    labels = torch.from_numpy(np.load(folder / f"{stem}.labels.npy"))
    clips = None
    if config.audio is not None:
        chunks, groups, held_out = torch.from_numpy(np.load(folder / f"{stem}.clips.npy"))
        clips = Clips(chunks, groups, held_out.bool())
    return Decoded(images, labels, json.loads((folder / f"{stem}.json").read_text())["skipped"], clips)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file that replaces `path` when the block ends without an error.

    >>> with replacing(Path("numbers.txt")) as file:
    ...     _ = file.write(b"1 2 3")
    >>> Path("numbers.txt").read_text()
    '1 2 3'
    """
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with open(part, "wb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _build(part: Part, config: DataConfig, channels: int | None, stem: Path) -> None:
    labels: list[int] = []
    shape: tuple[int, ...] = ()
    good = 0
    groups: dict[str, int] = {}
    clips: list[tuple[int, int, bool]] = []
    with replacing(stem.with_suffix(".images.npy")) as file:
        for row in decode_rows(part, config, channels):
            if row is None:
                continue
            if not labels:
                shape = row.images.shape[1:]
                _write_header(file, (part.count, *shape))
            file.write(row.images.tobytes())
            good += 1
            labels += [row.label] * len(row.images)
            group = groups.setdefault(row.row.group, len(groups))
            clips.append((len(row.images), group, row.row.held_out))
        file.seek(0)
        _write_header(file, (len(labels), *shape))
    with replacing(stem.with_suffix(".labels.npy")) as file:
        np.save(file, np.array(labels, dtype=np.int64))
    if config.audio is not None:
        with replacing(stem.with_suffix(".clips.npy")) as file:
            np.save(file, np.array(clips, dtype=np.int64).T)
    # Written last: an entry exists if this file does.
    with replacing(stem.with_suffix(".json")) as file:
        file.write(json.dumps({"source": part.where, "skipped": part.count - good}).encode())


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    # NumPy pads this header to the same length for any number of rows, so it can be overwritten.
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
