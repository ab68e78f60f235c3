"""Decoded images on disk: each source is decoded once, then memory-mapped."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from filelock import FileLock

from raysplit.config import DataConfig
from raysplit.data.decode import decode
from raysplit.data.schema import BadRow, Part, check_label
from raysplit.errors import DataError

_FORMAT = 1
"""Part of every key; raise it when the same source would decode to other pixels."""


class Decoded(NamedTuple):
    images: torch.Tensor
    labels: torch.Tensor
    skipped: int


def cache_dir() -> Path:
    """Return the folder of decoded images and downloads: $RAYSPLIT_CACHE, else ~/.cache/raysplit."""
    return Path(os.environ.get("RAYSPLIT_CACHE") or "~/.cache/raysplit").expanduser()


def fetch(part: Part, config: DataConfig, channels: int | None) -> Decoded:
    """Return a part's images, uint8 (N, C, H, W), memory-mapped, and labels, int64 (N,); decode if needed.

    Raises DataError for a bad row (unless config.on_bad_rows is "skip"), for images that differ in shape,
    for a part without a good row and for a cache that cannot be written.
    """
    if not part.count:
        raise DataError(f"{part.where} has no rows")
    key = [_FORMAT, part.identity, part.classes, config.size, channels, config.on_bad_rows]
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
            f"cannot write decoded images to {folder} ({err}); set RAYSPLIT_CACHE to a folder with room"
        ) from None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images = torch.from_numpy(np.load(folder / f"{stem}.images.npy", mmap_mode="r"))
    labels = torch.from_numpy(np.load(folder / f"{stem}.labels.npy"))
    return Decoded(images, labels, json.loads((folder / f"{stem}.json").read_text())["skipped"])


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file that takes the place of `path` only when the block ends without an error."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with open(part, "wb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _build(part: Part, config: DataConfig, channels: int | None, stem: Path) -> None:
    labels: list[int] = []
    skipped = 0
    shape: tuple[int, ...] | None = None
    with replacing(stem.with_suffix(".images.npy")) as file:
        for row in part.rows():
            try:
                label = check_label(row.label, len(part.classes))
                pixels = decode(row.image, config.size, channels)
            except BadRow as err:
                if config.on_bad_rows == "raise":
                    raise DataError(f"{row.where}: {err}. data.on_bad_rows=skip leaves such rows out") from None
                skipped += 1
                continue
            if shape is None:
                shape = pixels.shape
                _write_header(file, (part.count, *shape))
            elif pixels.shape != shape:
                raise DataError(_odd_shape(row.where, pixels.shape, shape))
            file.write(pixels.tobytes())
            labels.append(label)
        if shape is None:
            raise DataError(f"{part.where} has no good row: {skipped} bad ones were skipped")
        file.seek(0)
        _write_header(file, (len(labels), *shape))
    with replacing(stem.with_suffix(".labels.npy")) as file:
        np.save(file, np.array(labels, dtype=np.int64))
    # Written last: an entry is there when this file is.
    with replacing(stem.with_suffix(".json")) as file:
        file.write(json.dumps({"source": part.where, "skipped": skipped}).encode())


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    # NumPy pads this header to the same length for any number of rows, so it can be written again.
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _odd_shape(where: str, shape: tuple[int, ...], first: tuple[int, ...]) -> str:
    if shape[0] != first[0]:
        kinds = {1: "grey", 3: "RGB"}
        return (
            f"{where}: the image is {kinds[shape[0]]}, those before it are {kinds[first[0]]}; "
            "set data.channels=1 or data.channels=3 to convert all"
        )
    return (
        f"{where}: the image has {shape[1]}×{shape[2]} pixels (height×width), those before it have "
        f"{first[1]}×{first[2]}; set data.size={min(first[1:])} or another size to resize all"
    )
