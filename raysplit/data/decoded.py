"""A part's rows as tensors: every image or recording decoded, bad rows refused or skipped, all of one shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from raysplit.config import DataConfig
from raysplit.data.audio import decode_audio
from raysplit.data.clips import Clips
from raysplit.data.decode import decode
from raysplit.data.schema import BadRow, Part, Pixels, Row, check_label
from raysplit.errors import DataError


class Decoded(NamedTuple):
    """A part's images, uint8 (N, C, H, W), its labels, int64 (N,), and the number of bad rows that were skipped."""

    images: torch.Tensor
    labels: torch.Tensor
    skipped: int
    clips: Clips | None = None
    """Of recordings: which rows are the chunks of one."""


class DecodedRow(NamedTuple):
    """A good row."""

    images: Pixels
    """(K, C, H, W): one image, or one for each chunk of a recording."""
    label: int
    row: Row


def decode_rows(part: Part, config: DataConfig, channels: int | None) -> Iterator[DecodedRow | None]:
    """Yield images and label of each row, None for a bad row that is skipped.

    Raises DataError for a bad row (unless config.on_bad_rows is "skip"), for images that differ in shape and for a
    part without a good row.

    >>> from raysplit.data.schema import Row
    >>> part = Part("mine", ("no", "yes"), (), 1, "train", lambda: iter([Row("mine", np.zeros((8, 6), np.uint8), 1)]))
    >>> [(one.images.shape, one.label) for one in decode_rows(part, DataConfig(name="mine"), channels=3)]
    [((1, 3, 8, 6), 1)]
    """
    if not part.count:
        raise DataError(f"{part.where} has no rows")
    shape: tuple[int, ...] | None = None
    skipped = 0
    for row in part.rows():
        try:
            label = check_label(row.label, len(part.classes))
            if config.audio is not None:
                images = decode_audio(row.image, config.audio)
            else:
                images = decode(row.image, config.size, channels)[None]
        except BadRow as err:
            if config.on_bad_rows == "raise":
                raise DataError(f"{row.where}: {err}. data.on_bad_rows=skip leaves such rows out") from None
            skipped += 1
            yield None
            continue
        if shape is None:
            shape = images.shape[1:]
        elif images.shape[1:] != shape:
            raise DataError(odd_shape(row.where, images.shape[1:], shape))
        yield DecodedRow(images, label, row)
    if shape is None:
        raise DataError(f"{part.where} has no good row: {skipped} bad ones were skipped")


def decode_part(part: Part, config: DataConfig, channels: int | None) -> Decoded:
    """Decode a part of images into memory; raises as `decode_rows`."""
    images: Pixels | None = None
    labels: list[int] = []
    skipped = 0
    for row in decode_rows(part, config, channels):
        if row is None:
            skipped += 1
            continue
        if images is None:
            images = np.empty((part.count, *row.images.shape[1:]), np.uint8)
        images[len(labels)] = row.images[0]
        labels.append(row.label)
    assert images is not None
    return Decoded(torch.from_numpy(images[: len(labels)]), torch.tensor(labels), skipped)


def odd_shape(where: str, shape: tuple[int, ...], first: tuple[int, ...]) -> str:
    """Return what is wrong with an image whose shape (C, H, W) differs from that of the first, and the remedy."""
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
