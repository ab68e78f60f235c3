import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from raysplit.config import DataConfig
from raysplit.data.cache import cache_dir, load_cached, replacing
from raysplit.data.schema import Part, Row
from raysplit.errors import DataError

CONFIG = DataConfig(name="made")
SKIP = DataConfig(name="made", on_bad_rows="skip")


@pytest.fixture
def part():
    def make(images, labels, identity="v1", classes=("a", "b")):
        calls = []

        def rows():
            calls.append(1)
            for i, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield Row(f"made row {i}", image, label)

        return Part("made", classes, (identity,), len(images), "train", rows), calls

    return make


def test_decoded_once_and_mapped(part, pixels):
    source, calls = part([pixels(seed=i) for i in range(4)], [0, 1, 0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = load_cached(source, CONFIG, None), load_cached(source, CONFIG, None)
    assert len(calls) == 1
    assert np.array_equal(second.images[2], pixels(seed=2).transpose(2, 0, 1))
    assert second.labels.tolist() == [0, 1, 0, 1]
    assert first.images.equal(second.images)


def test_key(part, pixels):
    images, labels = [pixels()], [0]
    source, calls = part(images, labels)
    settings = [
        (CONFIG, None),
        (CONFIG, 1),
        (SKIP, None),
        (DataConfig(name="made", size=16), None),
    ]
    for config, channels in settings * 2:
        load_cached(source, config, channels)
    assert len(calls) == len(settings)
    for other in ({"identity": "v2"}, {"classes": ("b", "a")}):
        source, calls = part(images, labels, **other)
        load_cached(source, CONFIG, None)
        assert calls == [1]


def test_skipped_rows_are_remembered(part, pixels):
    images = [b"bad", *(pixels(seed=i) for i in range(11)), pixels()]
    source, calls = part(images, [0] * 12 + [None])
    for _ in range(2):
        found = load_cached(source, SKIP, None)
        assert (len(found.images), len(found.labels), found.skipped) == (11, 11, 2)
        assert np.array_equal(found.images[10], pixels(seed=10).transpose(2, 0, 1))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("image", "label", "text"),
    [
        (b"bad", 0, "made row 1: this is not an image. data.on_bad_rows=skip leaves such rows out"),
        (None, 0, "made row 1: there are no image bytes"),
        ("good", 2, "made row 1: label 2 is not in 0..1"),
        ("good", -1, "made row 1: label -1 is not in 0..1"),
        ("good", None, "made row 1: the label is null"),
    ],
)
def test_bad_rows(part, pixels, cache, image, label, text):
    source, _ = part([pixels(), pixels() if image == "good" else image], [0, label])
    with pytest.raises(DataError) as err:
        load_cached(source, CONFIG, None)
    assert text in str(err.value)
    assert not [file for file in cache.iterdir() if file.suffix != ".lock"]


def test_odd_shapes(part, pixels):
    source, _ = part([pixels(8, 9), pixels(8, 9), pixels(9, 8)], [0, 0, 0])
    with pytest.raises(DataError, match=r"made row 2: the image has 9×8 pixels .*have 8×9; set data.size=8"):
        load_cached(source, SKIP, None)
    assert load_cached(source, DataConfig(name="made", size=10), None).images.shape == (3, 3, 10, 10)
    source, _ = part([pixels(), pixels(channels=1)], [0, 0])
    with pytest.raises(DataError, match=r"made row 1: the image is grey, those before it are RGB; set data.channels"):
        load_cached(source, CONFIG, None)
    assert load_cached(source, CONFIG, 3).images.shape == (2, 3, 8, 8)


def test_empty(part):
    with pytest.raises(DataError, match="made has no rows"):
        load_cached(part([], [])[0], CONFIG, None)
    with pytest.raises(DataError, match="made has no good row: 2 bad ones were skipped"):
        load_cached(part([b"", b""], [0, 0])[0], SKIP, None)


def test_many_at_once(part, pixels):
    source, calls = part([pixels(seed=i) for i in range(50)], [0] * 50)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load_cached(source, CONFIG, None), range(4)))
    assert len(calls) == 1
    assert all(other.images.equal(found[0].images) for other in found)


def test_cache_that_cannot_be_written(part, pixels, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAYSPLIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot write decoded images to .*/file .*set RAYSPLIT_CACHE"):
        load_cached(part([pixels()], [0])[0], CONFIG, None)


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("RAYSPLIT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "raysplit"


def test_replacing_keeps_the_old_file_on_failure(tmp_path):
    file = tmp_path / "a"
    file.write_text("old")
    with pytest.raises(KeyError), replacing(file) as new:
        new.write(b"half")
        raise KeyError
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("a", "old")]
