"""Images of any mode, format and orientation: the pixels that a viewer shows, computed here from the stored values."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from raysplit.data.decode import decode, readable_formats
from tests.examples import examples

ORIENTATION = 0x0112
SHOWN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
"""Where the value of Orientation says that rows and columns go."""
FORMATS = {
    "PNG": ("1", "L", "LA", "I;16", "P", "P+", "RGB", "RGB+", "L+", "RGBA"),
    "TIFF": ("1", "L", "LA", "I;16", "I", "F", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P", "P+"),
}
KINDS = [(format, mode) for format, modes in FORMATS.items() for mode in modes]
TURNED = ("PNG", "TIFF", "WEBP")
PALETTE = np.random.default_rng(5).integers(256, size=(256, 3), dtype=np.uint8)


def over_white(colour, alpha):
    alpha = alpha[..., None] / 255
    return colour * alpha + 255 * (1 - alpha)


def stored(mode, values):
    """Return an image with some values (H, W, 4), uint8, what to save it with, and what a viewer shows, unturned."""
    grey, rgb, alpha = values[..., :1], values[..., :3], values[..., 3]
    thrice = grey.repeat(3, 2)
    match mode:
        case "1":
            return Image.fromarray(grey[..., 0] > 127), {}, np.where(thrice > 127, 255, 0)
        case "L":
            return Image.fromarray(grey[..., 0]), {}, thrice
        case "L+":  # one value is transparent
            return (
                Image.fromarray(grey[..., 0]),
                {"transparency": int(grey[0, 0, 0])},
                np.where(thrice == grey[0, 0, 0], 255, thrice),
            )
        case "LA":
            return Image.fromarray(values[..., [0, 3]]), {}, over_white(thrice, alpha)
        case "I;16":
            return Image.fromarray(grey[..., 0].astype(np.uint16) * 256 + alpha), {}, thrice
        case "I":
            return Image.fromarray(grey[..., 0].astype(np.int32) * 256 + alpha), {}, thrice
        case "F":
            return Image.fromarray(grey[..., 0].astype(np.float32) / 255), {}, thrice
        case "P" | "P+":
            image = Image.fromarray(grey[..., 0], "L")
            image.putpalette(PALETTE.tobytes())
            shown = PALETTE[grey[..., 0]]
            if mode == "P":
                return image, {}, shown
            index = int(grey[0, 0, 0])
            return image, {"transparency": index}, np.where(grey == index, 255, shown)
        case "RGB":
            return Image.fromarray(rgb), {}, rgb
        case "RGB+":
            hidden = rgb[0, 0]
            return (
                Image.fromarray(rgb),
                {"transparency": tuple(map(int, hidden))},
                np.where((rgb == hidden).all(2, keepdims=True), 255, rgb),
            )
        case "RGBA":
            return Image.fromarray(values), {}, over_white(rgb, alpha)
        case "CMYK":
            return Image.fromarray(values, "CMYK"), {}, (255 - rgb) * (1 - alpha[..., None] / 255)
        case "YCbCr":
            y, cb, cr = (rgb[..., i].astype(float) for i in range(3))
            red, blue = y + 1.402 * (cr - 128), y + 1.772 * (cb - 128)
            green = y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)
            return Image.fromarray(rgb, "YCbCr"), {}, np.clip(np.stack([red, green, blue], 2), 0, 255)
    return _lab(grey)


def _lab(grey):
    """CIE L*a*b* without colour: L* from 0 to 100 in 0..255, to sRGB."""
    lightness = grey.astype(float) / 255 * 100
    linear = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    shown = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear) * 255
    pixels = np.concatenate([grey, np.full_like(grey, 128).repeat(2, 2)], 2)
    return Image.merge("LAB", [Image.fromarray(pixels[..., i]) for i in range(3)]), {}, shown.repeat(3, 2)


@examples(150)
@given(
    st.sampled_from(KINDS), st.integers(1, 8), st.integers(1, 7), st.integers(1, 7), st.integers(0, 99), st.booleans()
)
@pytest.mark.filterwarnings("ignore")
def test_pixels_are_those_that_a_viewer_shows(kind, orientation, height, width, seed, grey):
    format, mode = kind
    values = np.random.default_rng(seed).integers(256, size=(height, width, 4), dtype=np.uint8)
    image, options, shown = stored(mode, values)
    if format in TURNED:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options = {**options, "exif": exif}
        shown = SHOWN[orientation](shown)
    if format == "WEBP":
        options |= {"lossless": True, "exact": True}
    file = io.BytesIO()
    image.save(file, format, **options)
    found = decode(file.getvalue(), None, 1 if grey else 3).astype(int)
    expected = shown @ [0.299, 0.587, 0.114] if grey else shown.transpose(2, 0, 1)
    assert abs(found - expected).max() <= (2 if mode in ("LAB", "YCbCr", "CMYK") else 1.1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
def test_photos_are_turned(format, orientation):
    if format not in readable_formats():
        pytest.skip(f"this Pillow does not read {format}")
    values = np.zeros((32, 48, 3), np.uint8)
    values[:16, :16], values[16:, 32:] = 255, 128
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    Image.fromarray(values).save(file, format, exif=exif, quality=95)
    shown = SHOWN[orientation](values).transpose(2, 0, 1)
    found = decode(file.getvalue(), None, None)
    assert found.shape == shown.shape and abs(found.astype(int) - shown).mean() < 3


@pytest.mark.parametrize("damage", [b"XX\0*", b"MM\xff\xff", b"MM\0*\xff\xff\xff\xff", b"\0\0\0\0\0\0\0\0"])
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_exif_block_does_no_harm(damage):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    file, plain = io.BytesIO(), io.BytesIO()
    image = Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12))
    image.save(file, "JPEG", exif=exif)
    image.save(plain, "JPEG")
    data = bytearray(file.getvalue())
    at = data.index(b"Exif\0\0") + 6
    data[at : at + len(damage)] = damage
    assert np.array_equal(decode(bytes(data), None, None), decode(plain.getvalue(), None, None))


def test_a_file_of_several_frames_is_its_first():
    frames = [Image.new("RGB", (4, 6), colour) for colour in ("red", "blue")]
    for format in ("GIF", "TIFF", "WEBP"):
        file = io.BytesIO()
        frames[0].save(file, format, save_all=True, append_images=frames[1:], lossless=True)
        assert decode(file.getvalue(), None, None)[:, 0, 0].tolist() == pytest.approx([254, 0, 0], abs=1)


def test_a_transparent_16_bit_value():
    values = np.array([[0x1234, 0x1235]], np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG", transparency=0x1234)
    assert decode(file.getvalue(), None, None).tolist() == [[[255, 0x12]]]


def test_an_image_in_memory_is_turned_and_composited():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = Image.fromarray(np.zeros((2, 3, 4), np.uint8))
    image.info["exif"] = exif.tobytes()
    assert decode(image, None, None).tolist() == np.full((3, 3, 2), 255).tolist()
