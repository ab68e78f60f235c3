"""One image, from whatever a source holds, to uint8 pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from raysplit.data.schema import BadRow, Pixels

_GREY_MODES = ("1", "L", "LA", "La")


def decode(raw: object, size: int | tuple[int, int] | None, channels: int | None) -> Pixels:
    """Return uint8 pixels (C, H, W), converted to `channels` (1 grey, 3 RGB) and resized to `size`.

    `raw` is an encoded image, the path of one, a PIL image, a uint8 array (H, W) or (H, W, 3), or a tensor (H, W) or
    (1 or 3, H, W), uint8 or floating with values in 0..1. A size is the side of a square, or height and width. None
    keeps what is stored. Resizing is bilinear. Raises BadRow for anything that is not an 8-bit image.

    >>> decode(np.zeros((8, 6, 3), np.uint8), size=4, channels=1).shape
    (1, 4, 4)
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
        if isinstance(err, UnidentifiedImageError):
            raise BadRow("this is not an image") from None
        raise BadRow(f"unreadable image ({type(err).__name__}: {err})") from None
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _open(raw: object) -> Image.Image:
    if isinstance(raw, bytes):
        return Image.open(io.BytesIO(raw))
    if isinstance(raw, Path):
        return Image.open(raw)
    if isinstance(raw, Image.Image):
        return raw.copy()  # whoever opens an image closes it
    if isinstance(raw, torch.Tensor):
        return Image.fromarray(_tensor_pixels(raw))
    if isinstance(raw, np.ndarray):
        return Image.fromarray(raw)
    raise BadRow(f"a {type(raw).__name__} is not an image; give a PIL image, or a tensor (1 or 3, height, width)")


def _tensor_pixels(x: torch.Tensor) -> Pixels:
    """Return a tensor (H, W) or (1 or 3, H, W) as uint8 pixels, (H, W) or (H, W, 3)."""
    if x.ndim not in (2, 3) or (x.ndim == 3 and x.shape[0] not in (1, 3)):
        raise BadRow(f"a tensor of shape {tuple(x.shape)} is not an image; its shape is (1 or 3, height, width)")
    x = x.detach().cpu()
    if x.is_floating_point():
        low, high = (float(x.min()), float(x.max())) if x.numel() else (0.0, 0.0)
        if not 0 <= low <= high <= 1:
            raise BadRow(
                f"its floats are from {low:.3g} to {high:.3g}; give values in 0..1 or uint8, not yet normalized"
            )
        x = (x * 255).round().to(torch.uint8)
    if x.dtype != torch.uint8:
        raise BadRow(f"a tensor of {x.dtype} is not an image; give uint8, or floats in 0..1")
    pixels: Pixels = (x if x.ndim == 2 else x[0] if x.shape[0] == 1 else x.permute(1, 2, 0)).numpy()
    return np.ascontiguousarray(pixels)
