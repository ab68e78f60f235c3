import gzip
import importlib.metadata
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets as tv

from raysplit.config import DataConfig
from raysplit.data import load, named, read_facts
from raysplit.errors import DataError, MissingExtra


@pytest.mark.parametrize("name", ["mnist5k", "digits"])
def test_missing_package(name, monkeypatch):
    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(named, "version", missing)
    with pytest.raises(MissingExtra, match=rf"data set {name} needs the package .*raysplit\[demo\]"):
        load(DataConfig(name=name), "test")
    assert read_facts(DataConfig(name=name)).test_rows > 0


@pytest.mark.parametrize(
    ("name", "kind", "shape", "expected"),
    [
        ("cifar10", "CIFAR10", (6, 32, 32, 3), (3, 32, 32)),
        ("cifar100", "CIFAR100", (6, 32, 32, 3), (3, 32, 32)),
        ("stl10", "STL10", (6, 3, 96, 96), (3, 96, 96)),
        ("fashion_mnist", "FashionMNIST", (6, 28, 28), (1, 28, 28)),
    ],
)
def test_torchvision_sets(name, kind, shape, expected, monkeypatch, tmp_path):
    asked = []
    data = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)

    def dataset(root, download, train=None, split=None):
        assert download
        asked.append((root, split or ("train" if train else "test")))
        return SimpleNamespace(data=data, targets=list(range(6)), labels=np.arange(6))

    monkeypatch.setattr(tv, kind, dataset)
    config = DataConfig(name=name, root=str(tmp_path), val_fraction=0.5)
    for _ in range(2):
        test = load(config, "test")
    assert test.images.shape == (6, *expected) and test.labels.tolist() == list(range(6))
    assert len(load(config, "train").images) == 3
    assert asked == [(tmp_path, "test"), (tmp_path, "train")]
    assert read_facts(config).shape == expected
    first = data[0] if data[0].shape == test.images[0].shape else np.moveaxis(np.atleast_3d(data[0]), 2, 0)
    assert np.array_equal(test.images[0], first)


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("File not found\nor corrupted."), EOFError()])
def test_failed_download(error, monkeypatch, cache):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(tv, "CIFAR10", fail)
    with pytest.raises(DataError) as err:
        load(DataConfig(name="cifar10"), "train")
    text = str(err.value)
    assert text.startswith(f"cannot download cifar10 to {cache}/downloads ({type(error).__name__}: ")
    assert "data.root" in text and "jobs/prepare_data.py --data cifar10" in text and "parquet:DIR" in text
    assert "\n" not in text


def test_debian_fashion(monkeypatch, tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (4, 28, 28)).astype(np.uint8)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + images.tobytes()))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + bytes([9, 0, 1, 2])))
    monkeypatch.setattr(named, "DEBIAN_FASHION", tmp_path)
    found = load(DataConfig(name="fashion_mnist"), "test")
    assert np.array_equal(found.images[:, 0], images) and found.labels.tolist() == [9, 0, 1, 2]
    with pytest.raises(DataError, match=r"train-\*\.gz of the package dataset-fashion-mnist: .*reinstall it"):
        load(DataConfig(name="fashion_mnist"), "train")


def test_imagenet100(tmp_path, png):
    with pytest.raises(DataError, match=r"the images of imagenet100 differ in size; set data.size"):
        read_facts(DataConfig(name="imagenet100"))
    config = DataConfig(name="imagenet100", root=str(tmp_path), size=16, val_fraction=0.5)
    told = read_facts(config)
    assert (told.shape, len(told.classes), told.test_rows) == ((3, 16, 16), 100, 5_000)
    assert told.train_rows + told.val_rows == 126_689
    with pytest.raises(DataError, match=r"imagenet100 cannot be downloaded: .*ROOT/imagenet100/train/CLASS.*data.root"):
        load(config, "train")
    (tmp_path / "imagenet100" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="imagenet100 has no folder val; imagenet100 cannot be downloaded"):
        load(config, "train")
    for place in ("train/n01", "train/n02", "val/n01"):
        (tmp_path / "imagenet100" / place).mkdir(parents=True)
        (tmp_path / "imagenet100" / place / "a.JPEG").write_bytes(png(20, 30, channels=1))
    told = read_facts(config)
    assert (told.classes, told.shape, told.train_rows, told.test_rows) == (("n01", "n02"), (3, 16, 16), 1, 1)
    assert load(config, "val").images.shape == (1, 3, 16, 16)
