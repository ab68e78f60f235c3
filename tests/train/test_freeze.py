"""Runs whose schedule looks back or keeps something: what they learn, what they cost, and going on after stops."""

from __future__ import annotations

import pytest
import torch

from raysplit.compress.quantizing_codec import extract
from raysplit.config import ByteBudget, Plateau
from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir
from raysplit.records.epoch import total_traffic
from raysplit.schedules import foresee
from raysplit.train.local import train_local
from raysplit.train.local_device import LocalDevice
from raysplit.train.local_head import flatten
from raysplit.train.loop import Loop
from raysplit.wire.message import parse
from tests.train.freezing import HEAD, Tap, freezing_config

LADDER = ("c2.b4/b4.zstd", "c8.b4/b4.zstd", "all.b8/b8.zstd")


def weights(run_dir) -> list[bytes]:
    return [RunDir.at(str(run_dir)).read(f"{side}.safetensors") for side in ("device", "server")]


def untimed(run_dir) -> list[dict]:
    """The rows of a run without what a clock measured."""
    timed = ("_s", "seconds")
    return [
        {name: value for name, value in record.to_row().items() if not name.endswith(timed)}
        for record in RunDir.at(str(run_dir)).records()
    ]


def in_pieces(config, run_dir):
    """Train with a stop in the first step of each epoch, and go on from the checkpoint with new halves."""
    for epoch in range(1, config.train.epochs):

        def stop(at, step, steps, loss, epoch=epoch):
            if at == epoch:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_local(config, run_dir=str(run_dir), on_step=stop)
    return train_local(config, run_dir=str(run_dir))


def assert_pieces_equal_the_whole(config, tmp_path):
    whole = train_local(config, run_dir=str(tmp_path / "whole"))
    pieces = in_pieces(config, tmp_path / "pieces")
    assert weights(tmp_path / "pieces") == weights(tmp_path / "whole")
    assert untimed(tmp_path / "pieces") == untimed(tmp_path / "whole")
    for name in ("accuracy", "val_accuracy", "bytes_up", "bytes_down", "bytes_evaluation"):
        assert getattr(pieces, name) == getattr(whole, name)


@pytest.mark.parametrize(
    ("local", "finish"),
    [(True, True), *(pytest.param(local, False, marks=pytest.mark.slow) for local in (True, False))],
)
def test_freeze_and_cache_goes_on_after_any_epoch(tmp_path, local, finish):
    """Where it ends cached, the device is first called for the test part: at the level of what was cached."""
    assert_pieces_equal_the_whole(freezing_config(5, local, finish), tmp_path)


def test_plateau_goes_on_after_any_epoch(squeezed, tmp_path):
    config = squeezed.replaced(
        schedule=Plateau(ladder=LADDER, patience=1, min_gain=1), train=squeezed.train.replaced(epochs=4)
    )
    assert_pieces_equal_the_whole(config, tmp_path)
    levels = [row["level"] for row in untimed(tmp_path / "whole")]
    assert levels == ["c2·b4/b4·zstd"] * 2 + ["c8·b4/b4·zstd"] * 2


def with_budget(squeezed, megabytes, in_flight, local=False):
    train = squeezed.train.replaced(epochs=5, in_flight=in_flight, local_loss=HEAD if local else None)
    return squeezed.replaced(schedule=ByteBudget(ladder=LADDER, megabytes=megabytes), train=train)


def bounds(config) -> list[int]:
    """Most bytes of an epoch at each level."""
    context = Loop(config, LocalDevice(config))._decisions.context
    return [context.steps * context.step_bytes(level) for level in config.levels()]


def test_a_run_spends_what_zstd_saved_stays_within_its_budget_and_goes_on_after_any_epoch(squeezed, tmp_path):
    _, middle, loose = bounds(with_budget(squeezed, 1.0, 2))
    budget = (4 * middle + loose - 100) / 1e6
    config = with_budget(squeezed, budget, 2)
    decisions = foresee(config.schedule, Loop(config, LocalDevice(config))._decisions.context)
    assert [str(decision.level) for decision in decisions] == ["c8·b4/b4·zstd"] * 5
    assert_pieces_equal_the_whole(config, tmp_path)
    records = RunDir.at(str(tmp_path / "whole")).records()
    assert [record.level for record in records] == ["c8·b4/b4·zstd"] * 4 + ["all·b8/b8·zstd"]
    assert 0.7 * budget * 1e6 < total_traffic(records) <= budget * 1e6


@pytest.mark.parametrize("local", [True, False])
def test_a_run_in_lock_step_stays_within_its_budget(squeezed, local):
    tight, middle, _ = bounds(with_budget(squeezed, 1.0, 1, local))
    budget = (tight + 4 * middle) / 1e6
    config = with_budget(squeezed, budget, 1, local)
    rows = list(Loop(config, LocalDevice(config)).epochs())
    assert [row.level for row in rows[:2]] == ["c2·b4/b4·zstd", "c8·b4/b4·zstd"]
    assert 0.7 * budget * 1e6 < total_traffic(rows) <= budget * 1e6


def test_a_budget_that_cannot_be_kept_ends_the_run_before_it_starts(squeezed, tmp_path):
    config = with_budget(squeezed, bounds(with_budget(squeezed, 1.0, 1))[0] * 5 / 1e6 * 0.99, 1)
    with pytest.raises(ConfigError, match="is too little: 5 epochs at the tightest level c2·b4/b4·zstd may take"):
        train_local(config, run_dir=str(tmp_path))
    assert not RunDir.at(str(tmp_path)).has("metrics.parquet")


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_the_local_head_crosses_once_and_rests_on_the_server(local, head):
    config = freezing_config(3, local)
    config = config.replaced(schedule=config.schedule.replaced(head=head))
    tap = Tap(config)
    loop = Loop(config, tap)
    rows = list(loop.epochs())
    crossing = [args for verb, args, _ in tap.calls if verb == "hand_over"]
    assert len(crossing) == (local and head)
    sent = [row.bytes.up_weights for row in rows]
    taken = loop._server._half.head
    assert sent[0] == sent[2] == 0 and (sent[1] > 0) == (taken is not None) == (local and head)
    if taken is not None:
        # Two bytes a value.
        assert sent[1] == pytest.approx(2 * len(flatten(taken)), abs=8)
        held = tap.local.hand_over().result()
        assert torch.equal(extract(parse(held)), flatten(taken))


def test_answers_are_the_mean_of_both_distributions_and_training_is_the_servers_own():
    loop = Loop(freezing_config(3), LocalDevice(freezing_config(3)))
    half, z = loop._server._half, torch.randn(4, *loop.cut.shape)
    half.eval()
    own, other = half.body(half.decoder(z)), half.head(z)
    torch.testing.assert_close(half(z).exp(), (own.softmax(1) + other.softmax(1)) / 2)
    half.train()
    half(z).sum().backward()
    assert all(p.grad is None for p in half.head.parameters())
    assert any(p.grad is not None for p in half.body.parameters())


def test_what_the_server_takes_over_is_the_devices_head_in_fp16():
    config = freezing_config(3)
    tap = Tap(config)
    loop = Loop(config, tap)
    next(loop.epochs())
    loop._server.adopt_head(parse(tap.hand_over().result()))
    taken, held = flatten(loop._server._half.head), flatten(tap.local._side._head)
    torch.testing.assert_close(taken, held, atol=1e-4, rtol=1e-3)


def test_each_stage_has_a_learning_rate_schedule_of_its_own():
    """Three steps an epoch, no warm-up: constant at the stage's peak; lr 0.05 times 1, 0.5 and 0.1."""
    config = freezing_config(5, finish=True, lr_schedule="constant")
    rows = list(Loop(config, LocalDevice(config)).epochs())
    assert [row.lr for row in rows] == pytest.approx([0.05, 0.025, 0.025, 0.025, 0.005])
    cosine = freezing_config(5, finish=True, lr_schedule="cosine", warmup=0.0)
    rows = list(Loop(cosine, LocalDevice(cosine)).epochs())
    # At the last step of an epoch: steps 2 of 3; 2, 5 and 8 of 9; 2 of 3.
    assert [row.lr / 0.05 for row in rows] == pytest.approx(
        [0.25, 0.5 * 0.883022, 0.5 * 0.413176, 0.5 * 0.030154, 0.1 * 0.25], rel=1e-4
    )
