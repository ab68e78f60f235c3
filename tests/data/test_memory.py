"""Data sets in memory: what is taken for an image, how they are split, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset

from raysplit.config import DataConfig
from raysplit.data import Facts, export, load, read_facts
from raysplit.data.images import load_source
from raysplit.errors import ConfigError, DataError


class Pictures(Dataset):
    """Twenty pictures of two classes; it counts how often each is read."""

    classes = ("cat", "dog")

    def __init__(self, pixels, count=20, seed=0):
        self.arrays = [pixels(seed=seed + i) for i in range(count)]
        self.reads = 0

    def __len__(self):
        return len(self.arrays)

    def __getitem__(self, index):
        self.reads += 1
        return Image.fromarray(self.arrays[index]), index % 2


def chw(array):
    """Pixels (H, W) or (H, W, 3) as a tensor (C, H, W)."""
    x = torch.from_numpy(array)
    return x[None] if x.ndim == 2 else x.permute(2, 0, 1)


FORMS = {
    "PIL": Image.fromarray,
    "array": lambda a: a,
    "uint8 tensor": chw,
    "float tensor": lambda a: chw(a).float() / 255,
    "double tensor": lambda a: chw(a).double() / 255,
    "half tensor": lambda a: (chw(a).float() / 255).half(),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_images_of_every_form_come_out_as_their_pixels(pixels, form, channels):
    arrays = [pixels(6, 8, channels, seed=i) for i in range(5)]
    data = DataConfig(dataset=([(FORMS[form](a), i) for i, a in enumerate(arrays)], [(FORMS[form](arrays[0]), 0)]))
    full = load_source(data, "train")
    assert full.images.dtype == torch.uint8 and full.images.shape == (5, channels, 6, 8)
    off = (full.images.int() - torch.stack([chw(a) for a in arrays]).int()).abs().max()
    assert off <= (1 if form == "half tensor" else 0)
    assert full.labels.tolist() == [0, 1, 2, 3, 4] and full.classes == ("0", "1", "2", "3", "4")


def test_grey_tensors_without_a_channel(pixels):
    grey = torch.from_numpy(pixels(channels=1))
    assert load_source(DataConfig(dataset=[(grey, 0)] * 5), "train").images.shape == (4, 1, 8, 8)


def test_a_single_set_gives_a_fifth_to_the_test(pixels):
    pictures = Pictures(pixels)
    config = DataConfig(dataset=pictures, val_fraction=0.25)
    assert read_facts(config) == Facts("object:Pictures", ("cat", "dog"), (3, 8, 8), 12, 4, 4, "train")
    assert pictures.reads == 1, "facts need one image where the classes have names"
    train, val, test = (load(config, split) for split in ("train", "val", "test"))
    assert (len(train.labels), len(val.labels), len(test.labels)) == (12, 4, 4)
    assert pictures.reads == 1 + 20
    found = {image.numpy().tobytes() for part in (train, val, test) for image in part.images}
    assert found == {chw(a).numpy().tobytes() for a in pictures.arrays}
    # The rows are those of a Parquet file of as many.
    drawn = np.random.RandomState(0).permutation(20)[:4]
    assert {image.numpy().tobytes() for image in test.images} == {
        chw(pictures.arrays[i]).numpy().tobytes() for i in drawn
    }


def test_two_sets_and_sizes(pixels):
    config = DataConfig(dataset={"train": Pictures(pixels), "test": Pictures(pixels, 6, seed=50)})
    assert [len(load(config, split).labels) for split in ("train", "val", "test")] == [18, 2, 6]
    small = config.replaced(size=12, channels=1)
    assert read_facts(small).shape == (1, 12, 12) == tuple(load(small, "test").images.shape[1:])
    assert tuple(load(config, "test").images.shape[1:]) == (3, 8, 8)


def test_numbered_classes_are_those_of_both_splits():
    train, test = ([(torch.zeros(1, 4, 4), label) for label in labels] for labels in ((0, 2, 1, 0), (5, 1)))
    config = DataConfig(dataset=(train, test), val_fraction=0.25)
    assert read_facts(config).classes == load(config, "val").classes == tuple("012345")


def test_torchs_own_data_sets():
    x, y = torch.rand(10, 1, 4, 4), torch.arange(10) % 3
    assert read_facts(DataConfig(dataset=TensorDataset(x, y))).classes == ("0", "1", "2")


def test_a_subset_has_the_classes_of_its_data_set(pixels):
    subset = Subset(Pictures(pixels), range(10))
    assert read_facts(DataConfig(dataset=subset)).classes == ("cat", "dog")


def test_it_is_written_to_files_like_any_other(pixels, tmp_path):
    config = DataConfig(dataset=Pictures(pixels))
    written = export(config, "train", tmp_path / "set" / "train.parquet")
    export(config, "test", tmp_path / "set" / "test.parquet")
    again = load_source(DataConfig(name=f"parquet:{tmp_path / 'set'}"), "train")
    assert again.images.equal(written.images) and again.classes == ("cat", "dog")


GOOD = (torch.zeros(1, 4, 4), 0)


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        (torch.zeros(1, 4, 4), "item 1 is a Tensor, expected a pair (image, label)"),
        ((torch.zeros(1, 4, 4), 0, 1), "item 1 is a tuple, expected a pair (image, label)"),
        ((torch.zeros(1, 4, 4), 0.5), "item 1: label 0.5 is not an integer"),
        ((torch.zeros(1, 4, 4), torch.tensor([0, 1])), "item 1: label tensor([0, 1]) is not an integer"),
        ((torch.zeros(1, 4, 4), -1), "item 1: label -1 is not in 0..99999"),
        (
            (torch.zeros(4, 4, 4), 0),
            "item 1: a tensor of shape (4, 4, 4) is not an image; its shape is (1 or 3, ",
        ),
        ((torch.full((1, 4, 4), 1.5), 0), "item 1: its floats are from 1.5 to 1.5; give values in 0..1 or uint8"),
        ((torch.full((1, 4, 4), float("nan")), 0), "item 1: its floats are from nan to nan"),
        ((torch.zeros(1, 4, 4, dtype=torch.int64), 0), "item 1: a tensor of torch.int64 is not an image; give uint8"),
        ((np.full((4, 4), 2, np.float32), 0), "item 1: its floats are from 2 to 2; give values in 0..1"),
        (("cat.png", 0), "item 1: a str is not an image; give a PIL image, or a tensor (1 or 3, height, width)"),
        ((torch.zeros(1, 4, 6), 0), "item 1: the image has 4×6 pixels (height×width), those before it have 4×4"),
        ((torch.zeros(3, 4, 4), 0), "item 1: the image is RGB, those before it are grey"),
    ],
)
def test_samples_that_are_refused(sample, text):
    config = DataConfig(dataset=([GOOD, sample, GOOD], [GOOD]))
    with pytest.raises(DataError) as caught:
        load(config, "train")
    assert str(caught.value).startswith(f"object:list (train) {text}") and "\n" not in str(caught.value)


def test_bad_images_are_skipped_where_that_is_asked_for():
    config = DataConfig(dataset=([GOOD, (torch.full((1, 4, 4), 2.0), 0), GOOD, GOOD], [GOOD]), on_bad_rows="skip")
    assert (len(load_source(config, "train").labels), load_source(config, "train").skipped) == (3, 1)


def test_an_empty_set():
    with pytest.raises(DataError, match=r"object:list \(train\) has no rows"):
        load(DataConfig(dataset=([], [GOOD])), "train")


def test_a_record_is_not_the_data():
    config = DataConfig.model_validate_json(DataConfig(dataset=[GOOD]).model_dump_json())
    text = r"data was an object in memory \(list\).* config.replaced\(data=…\), or write it to files with raysplit.data"
    for call in (read_facts, lambda c: load(c, "test")):
        with pytest.raises(ConfigError, match=text):
            call(config)
