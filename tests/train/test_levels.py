"""Training at levels beyond channels and bits: top-k, ranges for each channel, error feedback."""

from __future__ import annotations

import pytest
import torch

from raysplit.compress.quantizing_codec import QuantizingCodec, extract, positions
from raysplit.compress.topk import choose_top
from raysplit.config import UNCOMPRESSED, Fixed
from raysplit.errors import ConfigError, WireError
from raysplit.train.costs import step_bytes
from raysplit.train.device_side import DeviceSide
from raysplit.train.halves import build_halves
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from raysplit.wire.message import parse


def at(config, level, **train):
    return config.replaced(schedule=Fixed(level=level), train=config.train.replaced(**train))


LEARNS = [
    "all.k16r10.b4/b4",
    "c8.b2/b4.ch.ef.zstd",
    *(pytest.param(level, marks=pytest.mark.slow) for level in ("all.k16.b32/b32", "c8.k16.b4/b4.ef.zstd")),
]


@pytest.mark.parametrize("level", LEARNS)
def test_it_learns(squeezed, level):
    """Ten classes, a code of 64 values. Guessing is right once in ten."""
    config = at(squeezed, level, epochs=4, lr=0.03)
    config = config.replaced(data=config.data.replaced(train_rows=640, augment="none"))
    rows = list(Loop(config, LocalDevice(config)).epochs())
    assert rows[-1].train_loss < 0.92 * rows[0].train_loss
    assert rows[-1].val_accuracy > 0.3


@pytest.mark.parametrize(
    "level", ["all.k5.b4/b2", "c3.k7r50.b32/b16", "c3.b4/b2.ch", "all.b32/b2.ch.ef", "c2.k3.b4/b4.ef"]
)
@pytest.mark.parametrize("in_flight", [1, 2])
def test_counted_bytes_are_what_the_plan_promises(squeezed, level, in_flight):
    config = at(squeezed, level, epochs=1, in_flight=in_flight)
    row = next(Loop(config, LocalDevice(config)).epochs())
    step = step_bytes(config, config.schedule.level, (16, 2, 2), 1, 10)
    assert step.exact
    assert row.bytes_up == 3 * step.up and row.bytes_down == 3 * step.down


def exchanges(config):
    """Train; return the activation and gradient messages of each micro-batch."""
    loop, seen = Loop(config, LocalDevice(config)), []
    learn = loop._server.train_step

    def watch(number, micros):
        ((down, score),) = learn(number, micros)
        seen.append((micros[0].activation, parse(down.to_bytes())))
        return [(down, score)]

    loop._server.train_step = watch
    list(loop.epochs())
    return seen


def test_gradients_lie_where_the_activations_did(squeezed):
    for activation, gradient in exchanges(at(squeezed, "c4.k5r30.b4/b8.zstd", epochs=1, in_flight=2)):
        mask = positions(activation)
        assert activation.channels == gradient.channels and gradient.positions_known and mask.sum() == 16 * 5
        y = extract(gradient, mask)[:, list(gradient.channels)]
        assert not y[~mask].any() and y[mask].any()


def test_a_device_refuses_a_gradient_of_other_values(squeezed):
    config = at(squeezed, "all.k5.b4/b4", epochs=1)
    loop = Loop(config, LocalDevice(config))
    learn = loop._server.train_step

    def dense(number, micros):
        ((down, score),) = learn(number, micros)
        return [(QuantizingCodec(UNCOMPRESSED, "down").compress(torch.zeros(down.shape), number), score)]

    loop._server.train_step = dense
    with pytest.raises(WireError, match="message 0 is not restricted to the positions of its activation"):
        list(loop.epochs())


def test_evaluation_is_plain_top_k_and_training_is_not(squeezed):
    device = DeviceSide(at(squeezed, "all.k5r90.b32/b32"))
    plain = DeviceSide(at(squeezed, "all.b32/b32"))
    z = extract(parse(plain.evaluate("val", 0).activation))
    assert positions(parse(device.evaluate("val", 0).activation)).equal(choose_top(z, 5))
    (activation, _), *_ = exchanges(at(squeezed, "all.k5r90.b32/b32", epochs=1))
    (plainly, _), *_ = exchanges(at(squeezed, "all.k5.b32/b32", epochs=1))
    assert (positions(activation) & positions(plainly)).sum() < 0.5 * positions(plainly).sum()


@pytest.mark.parametrize(("level", "values"), [("all.k65.b4/b4", 64), ("c2.k9.b4/b4", 8)])
def test_more_values_than_cross(squeezed, level, values):
    config = at(squeezed, level)
    with pytest.raises(ConfigError, match=rf"level {config.schedule.level} keeps \d+ values of each sample, {values} "):
        build_halves(config, 10, (1, 8, 8))
    build_halves(at(squeezed, f"c2.k{values}.b4/b4" if values == 8 else "all.k64.b4/b4"), 10, (1, 8, 8))
