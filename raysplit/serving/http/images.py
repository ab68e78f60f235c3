"""Image files out of requests, JPEG or PNG, to the pixels that a model takes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL.JpegImagePlugin import MARKER, JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from raysplit.data.decode import decode
from raysplit.data.schema import BadRow
from raysplit.errors import RequestError
from raysplit.serving.args import Limits

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_START_OF_SCAN = 0xDA
_MAX_SCANS = 100
"""Of a JPEG file. Progressive ones have about ten; a scan is a pass over all pixels and may take 40 bytes."""
_MAX_PARTS = 10_000
"""Chunks of a PNG file, and segments and bytes of junk before the pixels of a JPEG file: PIL reads each in Python."""
_SEGMENTS = frozenset(marker & 0xFF for marker, (_, _, handler) in MARKER.items() if handler)
"""Markers of a JPEG file after which PIL reads as many bytes as the next two say."""


class Upload(NamedTuple):
    """An image file in a request."""

    name: str | None
    """What the client calls it."""
    data: bytes


def decode_images(files: Sequence[Upload], shape: tuple[int, int, int], limits: Limits) -> np.ndarray:
    """Return uint8 pixels (B, C, H, W) of image files, for a model's shape (C, H, W), as data sets are decoded.

    Sizes are read from the headers of all files before any is decoded. Raises RequestError: 413 for too many
    files, pixels, scans or other parts, 415 for what is neither JPEG nor PNG or is animated, 400 for what is damaged.
    """
    check_count(len(files), limits)
    for index, file in enumerate(files):
        _check(_where(index, file), file.data, limits)
    images = np.empty((len(files), *shape), np.uint8)
    for index, file in enumerate(files):
        try:
            images[index] = decode(file.data, shape[1:], shape[0])
        except BadRow as err:
            raise RequestError(f"{_where(index, file)}: {err}; send whole 8-bit image files") from None
    return images


def check_count(count: int, limits: Limits) -> None:
    """Raise RequestError, 400 or 413, for a request of no images or of too many."""
    if not count:
        raise RequestError("there is no image in the request; send at least one")
    if count > limits.images:
        raise RequestError(
            f"{count} images are more than the {limits.images} that a request may have (limits.images); send fewer", 413
        )


def _check(where: str, data: bytes, limits: Limits) -> None:
    """Refuse a file for what its header says."""
    reader: type[JpegImageFile] | type[PngImageFile]
    if data.startswith(_JPEG):
        reader, parts = JpegImageFile, _segments(data)
    elif data.startswith(_PNG):
        reader, parts = PngImageFile, _chunks(data)
    else:
        raise RequestError(f"{where} is neither a JPEG nor a PNG file; convert it to one of them", 415)
    scans = data.count(bytes((0xFF, _START_OF_SCAN))) if reader is JpegImageFile else 1
    if parts > _MAX_PARTS or scans > _MAX_SCANS:
        raise RequestError(
            f"{where} has more than {_MAX_PARTS:,} parts or {_MAX_SCANS} scans; save it again as an ordinary file", 413
        )
    try:
        # Not by Image.open, which warns of sizes, and fails for some, before ours can be checked.
        with reader(io.BytesIO(data)) as image:
            width, height = image.size
            animated = isinstance(image, PngImageFile) and image.is_animated
    except Exception as err:  # PIL raises nearly anything on bytes that are no image
        raise RequestError(f"{where} is damaged ({type(err).__name__}: {err}); send whole 8-bit image files") from None
    if width * height > limits.pixels:
        raise RequestError(
            f"{where} has {width}×{height} pixels, more than {limits.pixels:,} (limits.pixels); send a smaller one", 413
        )
    if animated:
        raise RequestError(f"{where} is animated; send a still image", 415)


def _segments(data: bytes) -> int:
    """Return how many steps PIL takes to the first scan of a JPEG file, or one more than it may take."""
    at, count = 0, 0
    while at + 1 < len(data) and count <= _MAX_PARTS:
        count += 1
        if data[at] != 0xFF or data[at + 1] == 0xFF:
            at += 1
        elif data[at + 1] == _START_OF_SCAN:
            break
        else:
            at += 2
            if data[at - 1] in _SEGMENTS:
                at += int.from_bytes(data[at : at + 2], "big")
    return count


def _chunks(data: bytes) -> int:
    """Return how many chunks a PNG file has, or one more than it may have."""
    at, count = len(_PNG), 0
    while at < len(data) and count <= _MAX_PARTS:
        count += 1
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return count


def _where(index: int, file: Upload) -> str:
    return f"image {index}" if file.name is None else f"image {index} ({file.name[:80]!r})"
