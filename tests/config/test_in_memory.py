"""Networks and data sets in a config as objects; nothing here needs torch, and configs are read without it."""

from __future__ import annotations

import copy
import pickle

import pytest

from raysplit.config import DataConfig, EnsembleConfig, ModelConfig, SplitConfig, loads, parse
from raysplit.config.in_memory import InMemoryData
from raysplit.errors import ConfigError

PLAIN = {"name": "demo", "data": {"name": "digits"}, "model": {"name": "vgg11"}, "cut": "features.7"}


class Net:
    """What a config takes for a torch module."""

    def forward(self): ...

    def parameters(self): ...

    def state_dict(self): ...


class Images:
    """What a config takes for a data set."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return index, 0


def config(**changes):
    return parse(SplitConfig, PLAIN | changes, "recipe demo")


def test_a_module():
    net = Net()
    made = config(model=net)
    assert made.model == ModelConfig(module=net) and made.model.module is net and made.model.name == "object:Net"
    assert made.replaced(name="other").model.module is net
    assert made.with_settings(["train.epochs=3", "data.size=16"]).model.module is net
    assert "module" not in made.model.model_dump() and "module" not in repr(made)
    again = loads(SplitConfig, made.model_dump_json(), "record")
    assert (again.model.name, again.model.module) == ("object:Net", None)
    assert again.replaced(model=net) == made
    assert made.with_settings(["model={name: vgg5}"]).model == ModelConfig(name="vgg5")


def test_data_sets():
    images, more = Images(), Images()
    for given in (images, {"dataset": images}, DataConfig(dataset=images)):
        made = config(data=given)
        assert made.data.dataset.train is images and made.data.dataset.test is None
        assert made.data.name == "object:Images"
    for given in ((images, more), {"train": images, "test": more}, DataConfig(dataset=(images, more))):
        made = config(data=given)
        assert made.data.dataset.train is images and made.data.dataset.test is more
    made = config(data=images).with_settings(["data.augment=crop", "train.epochs=3"])
    assert made.data.augment == "crop" and made.data.dataset.train is images
    assert "dataset" not in made.data.model_dump() and "dataset" not in repr(made)
    again = loads(SplitConfig, made.model_dump_json(), "record")
    assert (again.data.name, again.data.dataset) == ("object:Images", None)
    assert made.with_settings(["data={name: digits}"]).data == DataConfig(name="digits")
    assert config(data=[(0, 1), (2, 1)]).data.dataset.test is None, "a list is one data set"


def test_ensembles_take_them_alike():
    tree = {"name": "demo", "data": Images(), "base": {"model": Net()}, "groups": {"n": 2}, "prune": {"keep": 0.5}}
    made = parse(EnsembleConfig, tree, "recipe demo")
    assert made.data.name == "object:Images" and made.base.model.name == "object:Net"
    assert made.with_settings(["base.train.epochs=1"]).base.model.module is tree["base"]["model"]


def test_what_was_decoded_stays_behind():
    data = InMemoryData([(0, 1)])
    data.decoded["train"] = "pixels"
    for other in (pickle.loads(pickle.dumps(data)), copy.copy(data)):
        assert other.train == data.train and other.decoded == {}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (dict(model=Net), "model.module: expected a torch.nn.Module, got the class Net"),
        (dict(model={"module": 3}), "model.module: expected a torch.nn.Module, got an object of int"),
        (
            dict(model={"name": "vgg5", "module": Net()}),
            "model: name is 'vgg5' and a module is given; replace",
        ),
        (dict(model={"module": Net(), "args": {"a": 1}}), "model: args are for a builder and a module is given"),
        (dict(model=3), "model: Input should be a valid dictionary or instance of ModelConfig"),
        (dict(data={"name": "digits", "dataset": Images()}), "data: name is 'digits' and a data set is given; replace"),
        (dict(data={"train": Images(), "val": Images()}), "the keys train and test, this one has train, val"),
        (dict(data={"train": 3}), "data: int is not a map-style data set, which has __len__ and __getitem__"),
        (dict(data=iter([1])), "data: list_iterator is not a map-style data set"),
        (dict(data=(Images(), 3)), "data: int is not a map-style data set"),
        (dict(data="digits"), "data: Input should be a valid dictionary or instance of DataConfig"),
    ],
)
def test_faults(changes, text):
    with pytest.raises(ConfigError) as caught:
        config(**changes)
    assert text in str(caught.value) and "\n" not in str(caught.value)
