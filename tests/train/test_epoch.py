"""What each mode sends, and which half it trains."""

from __future__ import annotations

import pytest
import torch

from raysplit.compress.labels import extract_labels
from raysplit.compress.quantizing_codec import extract
from raysplit.config import Fixed
from raysplit.data import load
from raysplit.torch_utils.checkpoint import unpack_state
from raysplit.train.clip_votes import ClipVotes
from raysplit.train.loop import Loop
from raysplit.wire.message import parse
from tests.train.freezing import HEAD, Tap, freezing_config

DOWN = ("down_gradients", "down_headers")
SENT = ("up_activations", "up_labels", "up_headers")


def halves(loop: Loop, tap: Tap) -> tuple[dict, dict]:
    """Return copies of both halves' weights and statistics."""
    device = unpack_state(tap.local.state().result())["half"]
    server = loop._server.state()["half"]
    return device, {name: tensor.clone() for name, tensor in server.items()}


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def epochs(config):
    """Train; yield for each epoch its row, its calls, and what changed in the device half and the server half."""
    tap = Tap(config)
    loop = Loop(config, tap)
    before = halves(loop, tap)
    tap.calls.clear()
    steps = loop.epochs()
    for _ in range(config.train.epochs):
        row = next(steps)
        after = halves(loop, tap)
        yield row, tap, changed(before[0], after[0]), changed(before[1], after[1])
        before = after
        tap.calls.clear()


@pytest.fixture(scope="module")
def story():
    """Alone, frozen, frozen, cached, cached, joint; the tests below read it."""
    made = []
    for row, tap, device, server in epochs(freezing_config(epochs=6, finish=True)):
        made.append((row, tap.methods(), tap.down(), tap.up(), device, server))
    return made


def test_modes_in_order(story):
    modes = ["alone", "frozen", "frozen", "cached", "cached", "joint"]
    assert [row.mode for row, *_ in story] == modes
    assert [row.level for row, *_ in story] == ["c2·b4/b4"] + 4 * ["c4·b8/b8"] + ["c4·b4/b2"]


def test_an_epoch_alone_sends_nothing_and_trains_the_device_half(story):
    row, methods, _, _, device, server = story[0]
    assert methods == {"begin_epoch", "train_alone", "evaluate_alone"}
    assert row.traffic == row.bytes.evaluation == 0
    assert "encoder.mix.weight" in device and "encoder.norm.running_mean" in device and not server
    assert 0 < row.train_loss < 10 and 0 < row.val_loss < 10


@pytest.mark.parametrize("index", [1, 2])
def test_a_frozen_epoch_sends_activations_and_leaves_the_device_half_alone(story, index):
    row, methods, down, up, device, server = story[index]
    assert not down and len(up) == 3 and not device
    assert "decoder.mix.weight" in server and "decoder.norm.running_mean" in server
    assert all(getattr(row.bytes, kind) > 0 for kind in SENT) and row.bytes_down == 0
    # No head crosses where the halves finish together; the validation messages do in the first of them only.
    assert "hand_over" not in methods and row.bytes.up_weights == 0
    assert ("evaluate" in methods) == (row.bytes.evaluation > 0) == (index == 1)


@pytest.mark.parametrize("index", [3, 4])
def test_a_cached_epoch_does_not_call_the_device_at_all(story, index):
    row, methods, _, _, device, server = story[index]
    assert methods == set()
    assert row.traffic == row.bytes.evaluation == row.evaluation_test == 0
    assert not device and "decoder.mix.weight" in server
    assert row.device_s == 0 and 0 < row.val_loss < 10


def test_the_finish_trains_both_halves_again(story):
    row, _, down, up, device, server = story[5]
    assert len(down) == len(up) == 3 and all(getattr(row.bytes, kind) > 0 for kind in (*SENT, *DOWN, "evaluation"))
    assert "encoder.mix.weight" in device and "decoder.mix.weight" in server


def test_validation_in_a_frozen_epoch_is_what_the_device_would_send_now():
    """The messages kept in the first frozen epoch score as fresh ones do."""
    config = freezing_config(epochs=4)
    tap = Tap(config)
    loop = Loop(config, tap)
    rows = list(loop.epochs())
    now = [tap.local.evaluate("val", i).result() for i in range(rows[-1].val_batches)]
    votes = ClipVotes(None)
    scores = [
        loop._server.score(i, rows[-1].level, parse(sent.activation), parse(sent.labels), votes)
        for i, sent in enumerate(now)
    ]
    assert sum(score.correct for score in scores) / sum(score.count for score in scores) == rows[-1].val_accuracy


@pytest.mark.parametrize("in_flight", [1, 2])
def test_local_epochs_bring_no_gradient_down_and_change_both_halves(squeezed, in_flight):
    train = squeezed.train.replaced(local_loss=HEAD, in_flight=in_flight)
    config = squeezed.replaced(schedule=Fixed(level="c3.b4/b4"), train=train)
    for row, tap, device, server in epochs(config):
        assert row.mode == "local" and not tap.down() and len(tap.up()) == 3 * in_flight
        assert all(getattr(row.bytes, kind) > 0 for kind in SENT) and row.bytes_down == 0
        assert {"encoder.mix.weight", "encoder.logits"} <= device and "decoder.mix.weight" in server


def views(augment):
    """The code of every training sample, with its label, in each of two frozen epochs; sorted by the code."""
    config = freezing_config(epochs=3)
    config = config.replaced(
        data=config.data.replaced(augment=augment),
        schedule=config.schedule.replaced(send=config.schedule.send.replaced(level="all.b32/b32")),
    )
    made = []
    for row, tap, _, _ in epochs(config):
        if row.mode == "frozen":
            codes = torch.cat([extract(activation).flatten(1).sum(1) for activation, _ in tap.up()])
            labels = torch.cat([extract_labels(labels) for _, labels in tap.up()])
            order = codes.argsort()
            made.append((codes[order], labels[order]))
    return config, made


def test_each_view_has_every_sample_once():
    config, (first, second) = views("none")
    assert torch.allclose(first[0], second[0], atol=1e-4)
    assert sorted(first[1].tolist()) == sorted(second[1].tolist()) == sorted(load(config.data, "train").labels.tolist())


def test_each_view_is_newly_augmented():
    _, (first, second) = views("crop_flip")
    assert (first[0] - second[0]).abs().mean() > 1e-3
    assert sorted(first[1].tolist()) == sorted(second[1].tolist())
