"""Bottlenecks that start as the identity, and channels in a fixed order."""

from __future__ import annotations

import pytest
import torch

from raysplit.compress.bottleneck import Decoder, Encoder
from raysplit.compress.layer import CompressedCut
from raysplit.config import BottleneckConfig
from raysplit.errors import ConfigError
from raysplit.utils.settings import parse

IDENTITY = BottleneckConfig(order="learned")
FIXED = BottleneckConfig()
SHAPES = [((6, 5, 4), 1), ((7, 6), 2), ((4, 3, 6), 3), ((6,), 1), ((1, 9, 9), 1)]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("config", [IDENTITY, FIXED])
@pytest.mark.parametrize(("shape", "channel_dim"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_ends_start_as_the_identity(config, shape, channel_dim, dtype):
    """Values, dtype and gradient pass unchanged, whatever their sign and size."""
    encoder, decoder = Encoder(config, shape, channel_dim), Decoder(config, shape, channel_dim)
    x = (torch.randn(3, *shape) * 10 ** torch.linspace(-6, 6, 3).view(3, *[1] * len(shape))).to(dtype)
    g = torch.randn(3, *shape).to(dtype)
    for training in (True, False):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = decoder.train(training)(encoder.train(training)(given))
        assert y.dtype == dtype and torch.equal(y, x)
        y.backward(g)
        assert torch.equal(given.grad, g)


@pytest.mark.parametrize("config", [IDENTITY, FIXED])
def test_both_ends_learn_from_the_first_step(config):
    cut = CompressedCut("c2.b8/b8", bottleneck=config, shape=(6, 4, 4))
    (cut(torch.randn(8, 6, 4, 4)).square().sum() + cut.penalty()).backward()
    assert all(p.grad is not None and p.grad.any() for p in cut.parameters())
    names = {"encoder.mix.weight", "encoder.mix.bias", "decoder.mix.weight", "decoder.mix.bias"}
    assert {name for name, _ in cut.named_parameters()} == names | ({"encoder.logits"} if config is IDENTITY else set())


def test_gates_of_one_are_trained_as_published():
    """Value 1 at any logit; the derivative is that of σ(p)."""
    encoder = Encoder(IDENTITY, (3, 2, 2), 1)
    with torch.no_grad():
        encoder.logits.copy_(torch.tensor([-4.0, 0.0, 2.0]))
    x = torch.randn(2, 3, 2, 2)
    z = encoder(x)
    assert torch.equal(z, x)
    z.sum().backward()
    open_ = torch.sigmoid(encoder.logits.detach())
    torch.testing.assert_close(encoder.logits.grad, open_ * (1 - open_) * x.sum((0, 2, 3)))


@pytest.mark.parametrize("start", ["random", "identity"])
@pytest.mark.parametrize(("budget", "kept"), [(1, (0,)), (3, (0, 1, 2)), (5, (0, 1, 2, 3, 4)), (6, None), (None, None)])
def test_a_fixed_order_keeps_the_first_channels(start, budget, kept):
    encoder = Encoder(BottleneckConfig(start=start, order="fixed"), (6, 4, 4), 1)
    assert encoder.choose_channels(budget) == kept
    encoder.train_logits(True)
    encoder.reset_logits(torch.Generator().manual_seed(0))
    assert encoder.choose_channels(budget) == kept and encoder.penalty(3) is None
    assert "logits" not in encoder.state_dict()


def test_nothing_overflows_where_nothing_is_penalized():
    assert Encoder(FIXED.replaced(sharpness=9.0), (512, 1, 1), 1).penalty(4) is None
    with pytest.raises(ConfigError, match="sharpness=9 overflows with 512 channels"):
        Encoder(IDENTITY.replaced(sharpness=9.0), (512, 1, 1), 1)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"mode": "paper", "start": "identity"},
            "mode=paper is the published module, .* not identity and learned",
        ),
        ({"mode": "paper", "order": "fixed"}, "mode=paper is the published module, .* not random and fixed; set mode"),
        ({"start": "identity", "stride": 2}, "start=identity keeps the grid, which stride=2 shrinks; set stride to 1"),
        ({"start": "identity", "stride": 3, "order": "fixed"}, "which stride=3 shrinks; set stride to 1 or start to"),
        ({"start": "zero"}, "start: Input should be 'random' or 'identity'"),
        ({"order": 1}, "order: Input should be 'learned' or 'fixed'"),
    ],
)
def test_parts_that_do_not_fit(given, text):
    with pytest.raises(ConfigError, match=text):
        parse(BottleneckConfig, given, where="bottleneck")


def test_what_says_nothing_of_it_is_as_published_where_only_that_can_be():
    published = ("random", "learned")
    paper = {"mode": "paper"}
    for given in (paper, paper | {"start": "random"}, {"stride": 2}, {"stride": 3, "penalty": 1.0}):
        config = parse(BottleneckConfig, given, where="bottleneck")
        assert (config.start, config.order) == published
    assert (FIXED.start, FIXED.order) == ("identity", "fixed") == (FIXED.replaced(penalty=2).start, FIXED.order)


def test_files_without_the_fields_mean_the_published_start():
    old = {"mode": "raysplit", "stride": 1, "penalty": 1000.0, "sharpness": 0.01}
    read = parse(BottleneckConfig, old, where="config.json")
    assert (read.start, read.order) == ("random", "learned")
    assert parse(BottleneckConfig, FIXED.model_dump(), where="config.json") == FIXED
