"""Decoding uploaded images: the same pixels as in data sets, and files that are refused before they are decoded."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from raysplit.data.decode import decode
from raysplit.errors import RequestError
from raysplit.serving.args import Limits
from raysplit.serving.http import images
from raysplit.serving.http.images import Upload, check_image_count, decode_images
from tests.examples import examples

LIMITS = Limits(pixels=2000, images=4)
SHAPE = (3, 12, 20)


def encoded(format="PNG", size=(30, 50), mode="RGB", **options):
    """Return a file of random pixels."""
    pixels = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format, **options)
    return file.getvalue()


def png_header(width, height):
    """Return a PNG file whose header has a size, but which has no pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b""))]
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def refused(*data, limits=LIMITS, name=None):
    with pytest.raises(RequestError) as raised:
        decode_images([Upload(name, one) for one in data], SHAPE, limits)
    assert "\n" not in str(raised.value)
    return raised.value.status, str(raised.value)


@pytest.fixture
def undecoded(monkeypatch):
    """Fail a test that decodes an image."""

    def fail(*_):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(images, "decode", fail)


@pytest.mark.parametrize("shape", [(3, 12, 20), (1, 12, 20), (3, 16, 16), (3, 30, 50), (1, 60, 7)])
def test_pixels_are_the_same_as_in_data_sets(shape):
    files = [
        encoded(),
        encoded("JPEG"),
        encoded("JPEG", mode="L"),
        encoded("JPEG", mode="CMYK", progressive=True),
        encoded(mode="P"),
        encoded(mode="1"),
    ]
    found = decode_images([Upload(None, file) for file in files], shape, Limits())
    assert found.dtype == np.uint8 and found.shape == (6, *shape)
    for pixels, file in zip(found, files, strict=True):
        image = Image.open(io.BytesIO(file)).convert("L" if shape[0] == 1 else "RGB")
        expected = np.asarray(image.resize((shape[2], shape[1]), Image.Resampling.BILINEAR))
        assert np.array_equal(pixels, expected.reshape(*shape[1:], shape[0]).transpose(2, 0, 1))


def test_a_photo_with_a_preview_is_its_first_picture():
    """Cameras write several pictures into one JPEG file (MPO)."""
    first, second = (Image.new("RGB", (20, 12), colour) for colour in ("red", "blue"))
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second])
    found = decode_images([Upload(None, file.getvalue())], SHAPE, LIMITS)
    assert found[0, 0].min() > 250 and found[0, 2].max() < 5


def test_errors_name_the_file():
    good, bad = encoded(), encoded()[:-60]
    assert refused(good, bad)[1].startswith("image 1: unreadable image (OSError: image file is truncated")
    status, text = refused(bad, name="a\nb" + "c" * 999 + ".png")
    assert status == 400 and text.startswith(r"image 0 ('a\nbccc") and len(text) < 250


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<svg/>",
        encoded("PPM"),
        encoded("ICO"),
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"\xff\xd8",
        b"\x89PNG",
    ],
)
def test_other_formats(data, undecoded):
    status, text = refused(encoded(), data)
    known = "image 1 is of no image format that this server reads; send one of JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF"
    assert status == 415 and text in (known, f"{known}, HEIF")


@pytest.mark.parametrize("data", [encoded(size=(40, 51)), encoded("JPEG", size=(100, 81)), png_header(60_000, 60_000)])
def test_pixels_are_counted_before_any_image_is_decoded(data, undecoded):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PIL's, of decompression bombs
        status, text = refused(encoded(), data)
    assert status == 413 and re.search(r"pixels, more than [28],000 \(limits.pixels\)", text)


def test_the_limit_itself_is_allowed():
    assert decode_images([Upload(None, encoded(size=(40, 50)))], SHAPE, LIMITS).shape == (1, *SHAPE)


def test_animations(undecoded):
    file = io.BytesIO()
    frames = [Image.new("RGB", (20, 12), colour) for colour in ("red", "blue")]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    assert refused(file.getvalue()) == (415, "image 0 is animated; send a still image")


def test_scans_are_counted(undecoded):
    """Each repeated scan is some bytes in the file, and a pass over all pixels in the decoder."""
    data = encoded("JPEG", progressive=True)
    scan = data[data.rfind(b"\xff\xda") : -2]
    status, text = refused(data[:-2] + 100 * scan + data[-2:])
    assert status == 413 and "parts or 100 scans" in text


PNG, JPEG = encoded(), encoded("JPEG")
CHUNK = struct.pack(">I4sI", 0, b"abCd", zlib.crc32(b"abCd"))


@pytest.mark.parametrize(
    ("data", "at", "part"),
    [
        (JPEG, 2, b"\xff"),
        (JPEG, 20, b"\0"),
        (JPEG, 2, b"\xff\0"),
        (JPEG, 2, b"\xff\xd0"),
        (JPEG, 2, b"\xff\xe5\0\2"),
        (JPEG, 2, b"\xff\xfe\0\0"),
        (PNG, 33, CHUNK),
        (PNG, len(PNG) - 12, CHUNK),
    ],
)
def test_parts_are_counted(data, at, part, monkeypatch):
    """PIL takes a second for a megabyte of some of these."""
    few, many = (data[:at] + count * part + data[at:] for count in (30, 110))
    assert len(decode_images([Upload(None, few), Upload(None, many)], SHAPE, LIMITS)) == 2
    monkeypatch.setattr(images, "_MAX_PARTS", 100)
    assert len(decode_images([Upload(None, few)], SHAPE, LIMITS)) == 1
    assert refused(many)[0] == 413


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "WEBP", "AVIF"])
def test_other_formats_are_decoded_as_in_data_sets(format):
    if format not in images.readable_formats():
        pytest.skip(f"this Pillow does not read {format}")
    data = encoded(format)
    found = decode_images([Upload(None, data)], SHAPE, LIMITS)
    assert np.array_equal(found[0], decode(data, SHAPE[1:], SHAPE[0]))


@pytest.mark.parametrize(("size", "format"), [((4000, 6000), "JPEG"), ((6000, 8000), "JPEG"), ((6000, 4000), "MPO")])
def test_photos_above_the_limit_are_decoded_at_a_reduced_size(size, format):
    photo = Image.fromarray(np.linspace(0, 255, size[1]).astype(np.uint8)[None].repeat(size[0], 0))
    file = io.BytesIO()
    photo.save(file, format)
    found = decode_images([Upload(None, file.getvalue())], SHAPE, Limits())
    expected = np.asarray(photo.resize((20, 12), Image.Resampling.BILINEAR)).astype(int)
    assert abs(found[0, 0] - expected).max() <= 2
    assert np.array_equal(found[0], decode(file.getvalue(), SHAPE[1:], SHAPE[0]))


def test_counts(undecoded):
    assert refused() == (400, "the request has no image; send at least one")
    assert refused(*[encoded()] * 5)[0] == 413
    check_image_count(4, LIMITS)


SEEDS = [encoded(size=(5, 7)), encoded("JPEG", size=(5, 7)), encoded("JPEG", size=(5, 7), progressive=True)]


@examples(300)
@given(st.sampled_from(SEEDS), st.data())
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_refused_or_decoded(seed, data):
    raw = bytearray(seed[: data.draw(st.integers(0, len(seed)))])
    for _ in range(data.draw(st.integers(0, 4)) if raw else 0):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_images([Upload(None, bytes(raw))], SHAPE, LIMITS)
    except RequestError as err:
        assert err.status in (400, 413, 415) and "\n" not in str(err)
    else:
        assert found.shape == (1, *SHAPE)


@examples(200)
@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]), st.binary(max_size=300))
def test_any_bytes_are_refused(start, data):
    assert refused(start + data)[0] in (400, 413, 415)
