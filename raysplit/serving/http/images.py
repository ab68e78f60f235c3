"""Decoding uploaded image files to the pixels that a model takes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import MARKER
from PIL.PngImagePlugin import PngImageFile

from raysplit.data.decode import decode, readable_formats
from raysplit.data.schema import BadRow
from raysplit.errors import RequestError
from raysplit.serving.args import Limits

_PNG = b"\x89PNG\r\n\x1a\n"
_REDUCIBLE = 4
"""A JPEG file may have this many times `limits.pixels`: it is decoded at a reduced size, but all of it is read."""
_START_OF_SCAN = 0xDA
_MAX_SCANS = 100
"""Scans of a JPEG file: each is a pass over all pixels and may take as little as 40 bytes. Progressive files have about
ten."""
_MAX_PARTS = 10_000
"""Chunks of a PNG file, strips of a TIFF file, or segments and stray bytes before the pixels of a JPEG file. PIL reads
each of them in Python."""
_CAMERA_JPEG = "MPO"
"""Several JPEG files in one, which begins like any of them."""
_SEGMENTS = frozenset(marker & 0xFF for marker, (_, _, handler) in MARKER.items() if handler)
"""JPEG markers that are followed by a length of two bytes, which PIL then reads or skips."""


class Upload(NamedTuple):
    """A file in a request."""

    name: str | None
    """The filename that the client gave, if any."""
    data: bytes


def decode_images(files: Sequence[Upload], shape: tuple[int, int, int], limits: Limits) -> np.ndarray:
    """Return the pixels of image files, uint8 (B, C, H, W), for a model that takes `shape` (C, H, W).

    Files are decoded and resized exactly as data sets are. The headers of all files are checked before any file is
    decoded. Raises RequestError: 413 for too many files, pixels, scans or other parts; 415 for a file of
    another format than `raysplit.data.decode.FORMATS`, or an animated PNG file; 400 for a damaged one.

    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (8, 8), 200).save(file, "PNG")
    >>> images = decode_images([Upload("digit.png", file.getvalue())], (1, 4, 4), Limits())
    >>> images.shape, int(images.max())
    ((1, 1, 4, 4), 200)
    """
    check_image_count(len(files), limits)
    for index, file in enumerate(files):
        _check_file(label_upload(index, file), file.data, limits)
    images = np.empty((len(files), *shape), np.uint8)
    for index, file in enumerate(files):
        try:
            images[index] = decode(file.data, shape[1:], shape[0], limits.pixels)
        except BadRow as err:
            raise RequestError(f"{label_upload(index, file)}: {err}; send complete image files") from None
    return images


def check_image_count(count: int, limits: Limits) -> None:
    """Refuse a request without images (400) or with too many (413) by raising RequestError.

    >>> check_image_count(2, Limits(images=2))
    >>> check_image_count(3, Limits(images=2))
    Traceback (most recent call last):
    ...
    raysplit.errors.RequestError: the request has 3 images, at most 2 are allowed (limits.images); send fewer
    """
    if not count:
        raise RequestError("the request has no image; send at least one")
    if count > limits.images:
        raise RequestError(
            f"the request has {count} images, at most {limits.images} are allowed (limits.images); send fewer", 413
        )


def _check_file(label: str, data: bytes, limits: Limits) -> None:
    """Refuse a file because of its header."""
    kind = next((name for name in readable_formats() if _accepts(name, data)), None)
    if kind is None:
        known = ", ".join(name for name in readable_formats() if name != _CAMERA_JPEG)
        raise RequestError(f"{label} is of no image format that this server reads; send one of {known}", 415)
    parts = _count_segments(data) if kind == "JPEG" else _count_chunks(data) if kind == "PNG" else 1
    scans = data.count(bytes((0xFF, _START_OF_SCAN))) if kind == "JPEG" else 1
    if parts > _MAX_PARTS or scans > _MAX_SCANS:
        raise _too_many_parts(label)
    try:
        # Not with Image.open, which warns about large sizes, or fails, before our own limit is checked.
        with Image.OPEN[kind][0](io.BytesIO(data), "") as image:
            width, height = image.size
            tiles = len(image.tile)
            animated = isinstance(image, PngImageFile) and image.is_animated
    except Exception as err:  # PIL raises nearly anything on invalid files
        raise RequestError(f"{label} is damaged ({type(err).__name__}: {err}); send complete image files") from None
    if tiles > _MAX_PARTS:
        raise _too_many_parts(label)
    allowed = limits.pixels * (_REDUCIBLE if kind == "JPEG" else 1)
    if width * height > allowed:
        raise RequestError(
            f"{label} has {width}×{height} pixels, more than {allowed:,} (limits.pixels); send a smaller one", 413
        )
    if animated:
        raise RequestError(f"{label} is animated; send a still image", 415)


def _accepts(kind: str, data: bytes) -> bool:
    """Whether a file begins as those of a format do."""
    accept = Image.OPEN[kind][1]
    # What Pillow cannot read for want of a library, it answers with text.
    return kind != _CAMERA_JPEG and accept is not None and accept(data[:16]) is True


def _too_many_parts(label: str) -> RequestError:
    return RequestError(
        f"{label} has more than {_MAX_PARTS:,} parts or {_MAX_SCANS} scans; save it again as an ordinary file", 413
    )


def _count_segments(data: bytes) -> int:
    """Return how many steps PIL takes to the first scan of a JPEG file; counting stops above `_MAX_PARTS`."""
    position, count = 0, 0
    while position + 1 < len(data) and count <= _MAX_PARTS:
        count += 1
        if data[position] != 0xFF or data[position + 1] == 0xFF:
            position += 1
        elif data[position + 1] == _START_OF_SCAN:
            break
        else:
            position += 2
            if data[position - 1] in _SEGMENTS:
                position += int.from_bytes(data[position : position + 2], "big")
    return count


def _count_chunks(data: bytes) -> int:
    """Return how many chunks a PNG file has; counting stops above `_MAX_PARTS`."""
    position, count = len(_PNG), 0
    while position < len(data) and count <= _MAX_PARTS:
        count += 1
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return count


def label_upload(index: int, file: Upload, noun: str = "image") -> str:
    """Return what errors call a file of a request.

    >>> label_upload(0, Upload("digit.png", b""))
    "image 0 ('digit.png')"
    """
    return f"{noun} {index}" if file.name is None else f"{noun} {index} ({file.name[:80]!r})"
