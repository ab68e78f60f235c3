"""A run whose bottleneck starts as the identity, against the plain network."""

from __future__ import annotations

import pytest
import torch

from raysplit.config import BottleneckConfig, Fixed, ModelConfig
from raysplit.models import build
from raysplit.torch_utils.seeds import mix, seeded
from raysplit.train.halves import build_halves
from tests.train.test_loop import VIT, assert_same, merged, split

CPU = torch.device("cpu")
VGG = ModelConfig(name="vgg11", args={"width": 0.125})
RESNET = ModelConfig(name="resnet18")
CUTS = [(VGG, "features.7"), (VGG, "features.1"), (RESNET, "layer1.0"), (VIT, "blocks.0")]
IDENTITY = {order: BottleneckConfig(start="identity", order=order) for order in ("learned", "fixed")}


def starting(plain, model, cut, order, level="all.b32/b32", **train):
    config = plain.replaced(model=model, cut=cut, schedule=Fixed(level=level), train=plain.train.replaced(**train))
    return config, config.replaced(bottleneck=IDENTITY[order])


@pytest.mark.parametrize("order", IDENTITY)
@pytest.mark.parametrize(("model", "cut"), CUTS, ids=lambda part: getattr(part, "name", part))
def test_at_the_start_it_is_the_plain_network_to_the_bit(plain, model, cut, order):
    _, config = starting(plain, model, cut, order)
    shape = (3, 32, 32) if model is RESNET else (1, 8, 8)
    halves, x = build_halves(config, 10, shape), torch.randn(4, *shape)
    with seeded(mix(config.train.seed, "init"), CPU):
        whole = build(model, 10, shape)
    for training in (True, False):
        for module in (whole, halves.device, halves.server):
            module.train(training)
        with torch.no_grad(), seeded(1, CPU):
            expected = whole(x)
        with torch.no_grad(), seeded(1, CPU):
            assert torch.equal(halves.server(halves.device(x)), expected)


@pytest.mark.parametrize(
    ("model", "cut", "order", "train"),
    [
        (VGG, "features.7", "learned", {}),
        (VGG, "features.7", "fixed", {"precision": "bf16", "channels_last": True}),
        (VIT, "blocks.0", "fixed", {"optimizer": "adamw", "lr": 1e-3, "in_flight": 2}),
    ],
    ids=["vgg", "bf16", "vit"],
)
def test_its_first_step_is_the_plain_networks(plain, model, cut, order, train):
    """Loss, bytes, and the network's own weights after the step; then the bottleneck has learned."""
    one = plain.replaced(data=plain.data.replaced(train_rows=32))
    without, config = starting(one, model, cut, order, **train)
    (plainly, before), (loop, after) = split(without), split(config)
    assert loop.steps == 1 and loop.records[0].train_loss == plainly.records[0].train_loss
    assert loop.records[0].bytes.traffic == plainly.records[0].bytes.traffic
    assert_same(after, before)
    halves = loop.weights()
    assert halves["device"]["encoder.mix.weight"].any() and halves["server"]["decoder.mix.weight"].any()


def test_weights_from_a_file_start_as_the_plain_network_too(plain, tmp_path):
    torch.save(
        {name: value + 0.01 for name, value in build(VGG, 10, (1, 8, 8)).state_dict().items()}, tmp_path / "w.pth"
    )
    model = VGG.replaced(weights=str(tmp_path / "w.pth"))
    without, config = starting(plain.replaced(data=plain.data.replaced(train_rows=32)), model, "features.7", "fixed")
    assert_same(split(config)[1], merged(split(without)[0]))
