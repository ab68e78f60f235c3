import pytest

from raysplit.config import DataConfig
from raysplit.data import load, read_facts
from raysplit.data.catalogue import CATALOGUE


@pytest.mark.parametrize("name", ["mnist5k", "digits"])
def test_the_catalogue_tells_the_truth(name):
    config = DataConfig(name=name, val_fraction=0.2)
    told = read_facts(config)
    for split, rows in [("train", told.train_rows), ("val", told.val_rows), ("test", told.test_rows)]:
        found = load(config, split)
        assert found.images.shape == (rows, *told.shape)
        assert found.classes == told.classes
        assert set(found.labels.tolist()) == set(range(len(told.classes)))
        assert found.images.max() == 255 and found.images.min() == 0
    assert load(config, "test").labels.bincount().float().std() < 3  # stratified


def test_class_lists():
    counts = {name: len(known.classes) for name, known in CATALOGUE.items()}
    assert counts.pop("cifar100") == counts.pop("imagenet100") == 100
    assert set(counts.values()) == {10}
    for known in CATALOGUE.values():
        assert len(set(known.classes)) == len(known.classes)
    assert list(CATALOGUE["cifar100"].classes) == sorted(CATALOGUE["cifar100"].classes)
