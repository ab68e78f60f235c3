import io

import numpy as np
import pytest
from PIL import Image

from raysplit.data.decode import decode
from raysplit.data.schema import BadRow


def test_bytes_files_and_arrays_decode_alike(tmp_path, pixels, png):
    (tmp_path / "a.png").write_bytes(png())
    expected = pixels().transpose(2, 0, 1)
    for raw in (png(), tmp_path / "a.png", pixels()):
        assert np.array_equal(decode(raw, None, None), expected)


def test_as_stored_or_converted(png, pixels):
    assert decode(png(channels=1), None, None).shape == (1, 8, 8)
    assert np.array_equal(decode(png(channels=1), None, 3), np.stack([pixels(channels=1)] * 3))
    assert decode(png(channels=3), None, 1).shape == (1, 8, 8)
    assert decode(png(12, 20), 10, 3).shape == (3, 10, 10)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("size", [(5, 12), (12, 20), (20, 12), (31, 3), (12, 12)])
def test_height_and_width(mode, size, pixels):
    file = io.BytesIO()
    image = Image.fromarray(pixels(12, 20)).convert(mode)
    image.save(file, "TIFF")
    for channels in (1, 3):
        converted = image.convert("L" if channels == 1 else "RGB")
        wanted = np.asarray(converted.resize(size[::-1], Image.Resampling.BILINEAR)).reshape(*size, channels)
        assert np.array_equal(decode(file.getvalue(), size, channels), wanted.transpose(2, 0, 1))


def test_palette_and_transparency_become_rgb(pixels):
    for mode in ("P", "RGBA"):
        file = io.BytesIO()
        Image.fromarray(pixels()).convert(mode).save(file, "PNG")
        assert decode(file.getvalue(), None, None).shape == (3, 8, 8)


def test_bad_images(tmp_path, png, pixels):
    cases = [
        (None, "there are no image bytes"),
        (b"hello", "this is not an image"),
        (b"", "this is not an image"),
        (png()[:-60], "unreadable image .*truncated"),
        (tmp_path / "none.png", "unreadable image .*FileNotFoundError"),
        (np.array([[0.0, 2.0]], np.float32), r"its floats are from 0 to 2; give values in 0\.\.1"),
        (np.array([[0, 1 << 16]], np.int32), "its integers are from 0 to 65536; give values of 8 or 16 bits"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "this is not an image"),
        (b"\0\0\0\x18ftypheic", "HEIC image, which needs: pip install"),
    ]
    for raw, text in cases:
        with pytest.raises(BadRow, match=text):
            decode(raw, None, None)
