"""One image, from whatever a source, a request or a user holds, to uint8 pixels as a viewer shows them."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, UnidentifiedImageError

from raysplit.data.schema import BadRow, Pixels

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
"""Pillow's names of the formats that are read; AVIF where Pillow was built with it, HEIF with the extra `heic`."""
BACKGROUND = (255, 255, 255)
"""What lies behind transparent pixels: white."""
REDUCED_ABOVE = 20_000_000
"""JPEG files with more pixels are decoded at 1/2, 1/4 or 1/8 of their size if they are resized anyway."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by the value of its EXIF tag Orientation."""
_ON_THEIR_SIDE = (5, 6, 7, 8)
"""Orientations that swap width and height."""


def decode(
    raw: object, size: int | tuple[int, int] | None, channels: int | None, max_pixels: int = REDUCED_ABOVE
) -> Pixels:
    """Return uint8 pixels (C, H, W), converted to `channels` (1 grey, 3 RGB) and resized to `size`.

    `raw` is an encoded image, the path of one, a PIL image, a uint8 or uint16 array (H, W), a uint8 array (H, W, 3), or
    a tensor (H, W) or (1 or 3, H, W), uint8 or floating with values in 0..1. The image is turned as its EXIF says, laid
    over `BACKGROUND` where it is transparent, and of 16 bits the upper 8 are kept; of several frames the first is read.
    A size is the side of a square, or height and width. None keeps what is stored. Resizing is bilinear. A JPEG file
    of more than `max_pixels` pixels is decoded at the largest size of 1/2, 1/4 and 1/8 below it, unless that is below
    `size`. Raises BadRow for anything else.

    >>> decode(np.zeros((8, 6, 3), np.uint8), size=4, channels=1).shape
    (1, 4, 4)
    """
    if raw is None:
        raise BadRow("there are no image bytes")
    wanted = (size, size) if isinstance(size, int) else size
    try:
        with _open(raw) as opened:
            if wanted is not None and opened.format in ("JPEG", "MPO"):
                _reduce(opened, max(wanted), max_pixels)
            opened.load()
            grey = _is_grey(opened, channels)
            image = _to_mode(_upright(opened), "L" if grey else "RGB")
    except BadRow:
        raise
    except Exception as err:  # PIL raises nearly anything on bytes that are no image
        if isinstance(err, UnidentifiedImageError):
            raise BadRow(_unidentified(raw)) from None
        raise BadRow(f"unreadable image ({type(err).__name__}: {err})") from None
    if wanted is not None and image.size != wanted[::-1]:
        image = image.resize(wanted[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def read_shape(raw: bytes | Path, channels: int | None) -> tuple[int, int, int]:
    """Return channels, height and width of what `decode` gives without a size, from the header of a file alone.

    TIFF files are decoded: Pillow turns them itself, some versions when they open one, others when they load it.
    Raises BadRow for what is not an image.
    """
    try:
        with _open(raw) as opened:
            if opened.format == "TIFF":
                decoded = decode(raw, None, channels).shape
                return decoded[0], decoded[1], decoded[2]
            width, height = opened.size
            if opened.getexif().get(_ORIENTATION, 1) in _ON_THEIR_SIDE:
                width, height = height, width
            return 1 if _is_grey(opened, channels) else 3, height, width
    except BadRow:
        raise
    except Exception as err:
        raise BadRow(f"unreadable image ({type(err).__name__}: {err})") from None


@cache
def readable_formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that this installation reads."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _open(raw: object) -> Image.Image:
    if isinstance(raw, bytes):
        return Image.open(io.BytesIO(raw), formats=readable_formats())
    if isinstance(raw, Path):
        return Image.open(raw, formats=readable_formats())
    if isinstance(raw, Image.Image):
        return raw.copy()  # whoever opens an image closes it
    if isinstance(raw, torch.Tensor):
        return Image.fromarray(_tensor_pixels(raw))
    if isinstance(raw, np.ndarray):
        return Image.fromarray(raw)
    raise BadRow(f"a {type(raw).__name__} is not an image; give a PIL image, or a tensor (1 or 3, height, width)")


def _unidentified(raw: object) -> str:
    start = raw[:12] if isinstance(raw, bytes) else b""
    if isinstance(raw, Path):
        with raw.open("rb") as file:
            start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:11] in (b"hei", b"hev", b"mif"):
        return "this is a HEIC image, which needs: pip install 'raysplit[heic]'"
    return "this is not an image"


def _reduce(image: Image.Image, side: int, max_pixels: int) -> None:
    """Let a JPEG decoder scale an image of more than `max_pixels` down, but not below `side`."""
    width, height = image.size
    for scale in (1, 2, 4, 8):
        if min(width, height) // scale < side:
            return
        if width * height <= max_pixels * scale**2:
            break
    if scale > 1:
        image.draft(None, (width // scale, height // scale))


def _is_grey(image: Image.Image, channels: int | None) -> bool:
    return channels == 1 or (channels is None and image.mode[0] in "1LIF" and image.mode != "LAB")


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block says nothing
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Return an image as "L" or "RGB"."""
    if image.mode[0] in "IF":
        image = _to_eight_bits(image)
    elif image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "LAB", "RGB")) or image
    elif image.mode == "La":
        image = image.convert("LA")
    if not image.has_transparency_data:
        if image.mode == "YCbCr":
            image = image.convert("RGB")  # its luma may belong to no colour that can be shown
        return image.convert(mode)
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image).convert("RGB").convert(mode)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of 16 or 32 bits, or of floats in 0..1, as "L", or as "LA" if one value is transparent."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not 0 <= low <= high <= 1:
            raise BadRow(f"its floats are from {low:.3g} to {high:.3g}; give values in 0..1")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if not 0 <= low <= high <= 0xFFFF:
        raise BadRow(f"its integers are from {low} to {high}; give values of 8 or 16 bits")
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):
        alpha = Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8))
        return Image.merge("LA", (grey, alpha))
    return grey


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
