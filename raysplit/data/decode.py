"""One image, from whatever a source holds, to uint8 pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from raysplit.data.schema import BadRow

_GREY_MODES = ("1", "L", "LA", "La")


def decode(
    raw: bytes | Path | np.ndarray | None, size: int | tuple[int, int] | None, channels: int | None
) -> np.ndarray:
    """Return uint8 pixels (C, H, W), converted to `channels` (1 grey, 3 RGB) and resized to `size`.

    A size is the side of a square, or height and width. None keeps what is stored. Resizing is bilinear. Raises
    BadRow for anything that is not an 8-bit image.
    """
    if raw is None:
        raise BadRow("there are no image bytes")
    try:
        with _open(raw) as image:
            if image.mode[0] in "IF":
                raise BadRow(f"pixels of mode {image.mode} have more than 8 bits")
            grey = channels == 1 or (channels is None and image.mode in _GREY_MODES)
            image = image.convert("L" if grey else "RGB")
    except BadRow:
        raise
    except Exception as err:  # PIL raises nearly anything on bytes that are no image
        if isinstance(err, Image.UnidentifiedImageError):
            raise BadRow("this is not an image") from None
        raise BadRow(f"unreadable image ({type(err).__name__}: {err})") from None
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _open(raw: bytes | Path | np.ndarray) -> Image.Image:
    if isinstance(raw, np.ndarray):
        return Image.fromarray(raw)
    return Image.open(io.BytesIO(raw) if isinstance(raw, bytes) else raw)
