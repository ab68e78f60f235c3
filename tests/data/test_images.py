import io
import re

import pytest
from PIL import Image

from raysplit.config import DataConfig
from raysplit.data import Facts, load, read_facts
from raysplit.data.decode import decode, read_shape
from raysplit.data.images import load_source
from raysplit.errors import DataError


def keys(image_set):
    return {image.numpy().tobytes() for image in image_set.images}


def test_splits(two_files):
    config = DataConfig(name=f"parquet:{two_files}", val_fraction=0.25)
    train, val, test = (load(config, split) for split in ("train", "val", "test"))
    assert (len(train.labels), len(val.labels), len(test.labels)) == (15, 5, 6)
    assert len(keys(train) | keys(val) | keys(test)) == 26
    assert train.classes == ("cat", "dog") and train.skipped == 0
    assert train.raw_bytes == 15 * 3 * 8 * 8
    full = load_source(config, "train")
    labels = {image.numpy().tobytes(): label for image, label in zip(full.images, full.labels, strict=True)}
    assert all(labels[i.numpy().tobytes()] == label for i, label in zip(train.images, train.labels, strict=True))


def test_split_seed_and_train_rows(two_files):
    def train(**settings):
        return load(DataConfig(name=f"parquet:{two_files}", **settings), "train").images

    assert train().equal(train())
    assert not train().equal(train(split_seed=1))
    assert train(train_rows=4).equal(train()[:4])
    assert train(train_rows=400).equal(train())


def test_facts_agree_with_what_is_loaded(two_files):
    name = f"parquet:{two_files}"
    assert read_facts(DataConfig(name=name, train_rows=7)) == Facts(name, ("cat", "dog"), (3, 8, 8), 7, 2, 6)
    for settings in ({"size": 12}, {"channels": 1}, {"size": 12, "channels": 1}):
        config = DataConfig(name=name, **settings)
        assert read_facts(config).shape == tuple(load(config, "val").images.shape[1:])


def test_facts_of_bad_data(tmp_path, png, write_parquet):
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", [b"bad"] + [png()] * 9, [0] * 10)
    name = f"parquet:{tmp_path}"
    with pytest.raises(DataError, match=r"train\.parquet row 0: this is not an image\. data\.on_bad_rows=skip"):
        read_facts(DataConfig(name=name))
    assert read_facts(DataConfig(name=name, on_bad_rows="skip")).shape == (3, 8, 8)
    assert load(DataConfig(name=name, on_bad_rows="skip"), "val").skipped == 1
    write_parquet(tmp_path / "train.parquet", [b"bad"], [0])
    with pytest.raises(DataError, match=r"\(train\) has no good row"):
        read_facts(DataConfig(name=name, on_bad_rows="skip"))


def test_unknown_names():
    with pytest.raises(
        DataError, match=r"unknown data set 'cifar-10'\. Nearest: cifar10.* folder:PATH, parquet:PATH or audio:PATH"
    ):
        read_facts(DataConfig(name="cifar-10"))
    with pytest.raises(DataError, match="unknown data set 'parquet:'"):
        load(DataConfig(name="parquet:"), "test")


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_empty_parts(two_files, fraction):
    config = DataConfig(name=f"parquet:{two_files}", val_fraction=fraction)
    for call in (read_facts, lambda c: load(c, "train"), lambda c: load(c, "val")):
        with pytest.raises(DataError, match=rf"val_fraction={fraction} of 20 rows leaves (0|20) to validate on"):
            call(config)
    assert len(load(config, "test").images) == 6


def test_folder(tmp_path, png):
    for place in ("train/a", "train/b", "test/a"):
        (tmp_path / place).mkdir(parents=True)
        for i in range(3):
            (tmp_path / place / f"{i}.png").write_bytes(png(seed=i))
    config = DataConfig(name=f"folder:{tmp_path}")
    told = read_facts(config)
    assert (told.classes, told.train_rows, told.val_rows, told.test_rows) == (("a", "b"), 5, 1, 3)
    assert load(config, "test").labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("mode", "form"), [("RGB", "JPEG"), ("L", "PNG"), ("I;16", "TIFF"), ("P", "GIF"), ("RGBA", "WEBP")]
)
def test_the_shape_of_a_header_is_that_of_the_pixels(mode, form, orientation):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.new(mode, (9, 6)).save(file, form, **({} if form == "GIF" else {"exif": exif}))
    for channels in (None, 1, 3):
        assert read_shape(file.getvalue(), channels) == decode(file.getvalue(), None, channels).shape


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Image.new("RGB", (12, 8)), "8×12 pixels (height×width), those before it have 8×8; set data.size=8"),
        (Image.new("RGB", (8, 200)), "200×8 pixels (height×width), those before it have 8×8; set data.size=8"),
        (Image.new("L", (8, 8)), "the image is grey, those before it are RGB; set data.channels=1 or data.channels=3"),
    ],
)
def test_images_of_mixed_shapes_are_refused_before_training(tmp_path, other, message):
    for place in ("train/a/0", "train/a/1", "train/b/0", "train/b/1", "test/a/0", "test/b/0"):
        file = tmp_path / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        (other if place == "train/b/1" else Image.new("RGB", (8, 8))).save(file)
    config = DataConfig(name=f"folder:{tmp_path}", val_fraction=0.25)
    for read in (read_facts, lambda config: load(config, "train")):
        with pytest.raises(DataError, match=re.escape(message)) as refused:
            read(config)
        assert "train/b/1.png" in str(refused.value)
    assert read_facts(config.replaced(size=8, channels=3)).shape == (3, 8, 8)
