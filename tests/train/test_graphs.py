"""Networks of a library are traced once, whatever their values; those of a user each time."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from raysplit.config import ModelConfig
from raysplit.models import build
from raysplit.split import list_cuts, split_at
from raysplit.train import graphs
from raysplit.train.graphs import trace_built
from raysplit.train.halves import build_halves
from raysplit.train.local import train_local

SHAPE = (1, 32, 32)
VGG = ModelConfig(name="vgg5", args={"width": 0.125})


@pytest.fixture
def traced(monkeypatch):
    """Forget what was traced; return the networks that are traced from now on, by name."""
    names = []

    def trace(model, shape):
        names.append(model.name)
        return graph(model, shape)

    graph = graphs.trace
    monkeypatch.setattr(graphs, "trace", trace)
    monkeypatch.setattr(graphs, "_traced", type(graphs._traced)())
    return names


def test_a_run_traces_its_network_once(traced, squeezed, tmp_path):
    train_local(squeezed, str(tmp_path))
    assert traced == ["vgg11"]


def test_halves_of_shared_graphs_compute_with_their_own_values(traced):
    x = torch.randn(2, *SHAPE)
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = build(VGG, 10, SHAPE)
        halves = split_at(list_cuts(trace_built(model, VGG, 10, SHAPE)), "features.3")
        assert halves.server.eval()(halves.device.eval()(x)).equal(model.eval()(x))
        assert {*halves.device.parameters(), *halves.server.parameters()} == {*model.parameters()}
    assert traced == ["vgg5"]


@pytest.mark.parametrize(
    ("config", "classes", "shape"),
    [
        (ModelConfig(name="vgg5", args={"width": 0.25}), 10, SHAPE),
        (ModelConfig(name="vgg9", args={"width": 0.125}), 10, SHAPE),
        (VGG, 9, SHAPE),
        (VGG, 10, (3, 32, 32)),
        (VGG, 10, (1, 64, 32)),
    ],
)
def test_another_network_has_other_graphs(traced, config, classes, shape):
    first = trace_built(build(VGG, 10, SHAPE), VGG, 10, SHAPE)
    other = trace_built(build(config, classes, shape), config, classes, shape)
    assert other.train is not first.train and other.shape == shape
    assert other.eval.values[0][other.eval.nodes[-1]].shape == (2, classes)


def test_a_users_network_is_traced_each_time(traced, plain, tmp_path):
    file = tmp_path / "own.py"

    def write(width):
        layers = f"nn.Conv2d(1, {width}, 3), nn.ReLU(), nn.Flatten(), nn.Linear({36 * width}, classes)"
        file.write_text(f"from torch import nn\ndef net(classes, shape):\n    return nn.Sequential({layers})\n")

    named = plain.replaced(model=ModelConfig(name=f"{file}:net"), cut="1")
    for width in (2, 3):
        write(width)
        assert build_halves(named, 10, (1, 8, 8)).code_shape == (width, 6, 6)
    for width in (2, 3):
        layers = torch.nn.Conv2d(1, width, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(36 * width, 10)
        held = plain.replaced(model=ModelConfig(module=torch.nn.Sequential(*layers)), cut="1")
        assert build_halves(held, 10, (1, 8, 8)).code_shape == (width, 6, 6)
    assert len(traced) == 4


def test_few_graphs_and_no_values_are_kept(traced):
    model = build(VGG, 10, SHAPE)
    weight = weakref.ref(model.features[0].weight)
    trace_built(model, VGG, 10, SHAPE)
    del model
    gc.collect()
    assert weight() is None
    for classes in (2, 3, 4, 5, 2):
        trace_built(build(VGG, classes, SHAPE), VGG, classes, SHAPE)
    assert len(graphs._traced) == 4 and len(traced) == 5  # the second time, two classes are known
    trace_built(build(VGG, 10, SHAPE), VGG, 10, SHAPE)
    assert len(traced) == 6
