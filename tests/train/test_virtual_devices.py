"""Virtual devices: the same weights as real ones, to the bit, for any number of workers."""

from __future__ import annotations

import pytest

from raysplit.config import BottleneckConfig, ByteBudget, Deprune, DevicesConfig, Phase, SplitConfig
from raysplit.errors import DataError
from raysplit.folders.run_dir import RunDir
from raysplit.schedules import AnySchedule
from raysplit.train.local import train_local
from raysplit.train.loop import Loop
from tests.train.freezing import freezing_config
from tests.train.many import many_config
from tests.train.test_devices import assert_same, plainly, train

MODES = ("relay", "splitfed_v1", "splitfed_v2", "merged", "fedavg")


def virtual(config: SplitConfig, workers: int = 1) -> SplitConfig:
    return config.replaced(devices=config.devices.replaced(kind="virtual", workers=workers))


def assert_equal_runs(one: Loop, other: Loop) -> None:
    for side in ("device", "server"):
        assert_same(plainly(one.weights()[side]), plainly(other.weights()[side]))
    assert [row.bytes for row in one.records] == [row.bytes for row in other.records]
    scores = [[(row.val_accuracy, row.train_loss) for row in loop.records] for loop in (one, other)]
    assert scores[0] == scores[1] and one.test == other.test


@pytest.mark.parametrize(
    ("mode", "optimizer"),
    [
        *((mode, "kept") for mode in MODES),
        ("relay", "shared"),
        ("splitfed_v1", "shared"),
        ("merged", "reset"),
        ("fedavg", "reset"),
    ],
)
def test_virtual_devices_are_real_ones_bit_for_bit(mode, optimizer):
    config = many_config(mode, count=4, epochs=3, per_round=2, optimizer=optimizer)
    real = train(config)
    for workers in (1, 2, 4) if optimizer == "kept" else (2,):
        assert_equal_runs(train(virtual(config, workers)), real)


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("merged", ["devices.batch_norm=local"]),
        ("fedavg", ["devices.batch_norm=local", "train.in_flight=2"]),
        ("splitfed_v2", ["devices.local_epochs=2", "train.optimizer=adamw", "train.lr=0.002"]),
        ("relay", ["devices.round_steps=2", "devices.weighting=equal", "train.in_flight=2"]),
    ],
)
def test_what_devices_have_of_their_own(mode, settings):
    config = many_config(mode, count=3, epochs=3, per_round=2).with_settings(settings)
    real = train(config)
    for workers in (1, 2):
        assert_equal_runs(train(virtual(config, workers)), real)


def leveled(schedule: AnySchedule, **devices: object) -> SplitConfig:
    config = many_config("splitfed_v2", epochs=4, count=4, per_round=2, shards="iid", **devices)
    return config.replaced(
        bottleneck=BottleneckConfig(mode="paper", start="random", order="learned"), schedule=schedule
    )


@pytest.mark.parametrize(
    "schedule",
    [
        Deprune(phases=(Phase(level="c1.b4/b4", share=1), Phase(level="c4.b8/b8", share=1))),
        ByteBudget(ladder=("c1.b4/b4", "c4.b8/b8", "c4.b32/b32"), megabytes=0.12),
    ],
)
def test_levels_of_all_and_of_each(schedule):
    for optimizer in ("kept", "shared"):
        config = leveled(schedule, optimizer=optimizer)
        real, ours = train(config), train(virtual(config))
        assert_equal_runs(ours, real)
        rows = [[(row.device, row.epoch.level, row.samples) for row in loop.device_records] for loop in (real, ours)]
        assert rows[0] == rows[1]


@pytest.mark.parametrize("mode", ["relay", "splitfed_v2", "merged"])
def test_codes_of_frozen_virtual_devices_are_cached(mode):
    config = freezing_config(4).with_settings(
        [f"devices.mode={mode}", "devices.count=3", "train.batch_size=16", "data.train_rows=160"]
    )
    assert_equal_runs(train(virtual(config)), train(config))


@pytest.mark.parametrize("mode", MODES)
def test_a_stopped_run_of_virtual_devices_ends_with_the_same_weights(mode, tmp_path):
    def stop(epoch, step, steps, loss):
        if (epoch, step) == (2, 2):
            raise KeyboardInterrupt

    config = virtual(many_config(mode, epochs=4, count=4, per_round=2, batch_norm="local"), workers=2)
    known = train_local(config, str(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        train_local(config, str(tmp_path / "stopped"), on_step=stop)
    again = train_local(config, str(tmp_path / "stopped"))
    assert (again.accuracy, again.bytes_up, again.bytes_down) == (known.accuracy, known.bytes_up, known.bytes_down)
    assert again.bytes_checkpoint == 0, "no state crosses a link"
    folders = [RunDir.at(str(tmp_path / name)) for name in ("whole", "stopped")]
    for side in ("device", "server"):
        one, other = (folder.read_weights(f"{side}.safetensors") for folder in folders)
        assert_same(one, other)


def test_shards_smaller_than_a_batch_are_batches_of_their_own():
    config = virtual(many_config("fedavg", count=40, per_round=8, shards="iid", optimizer="reset"))
    loop = train(config)
    assert {row.samples for row in loop.device_records} == {4}
    assert all(row.epoch.steps == 1 for row in loop.device_records)
    assert len(loop.device_records) == 16, "a row for each device that took part"


def test_a_device_without_training_images_is_not_drawn():
    config = virtual(many_config("merged", count=100, per_round=60, shards="dirichlet(0.1)", optimizer="reset"))
    loop = train(config)
    empty = {member.index for member in loop._fleet.members if not member.facts.train_rows}
    assert 0 < len(empty) < 95
    assert not empty & {row.device for row in loop.device_records}


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_kept_of_a_dormant_device_that_keeps_nothing(mode):
    config = virtual(many_config(mode, count=6, epochs=3, per_round=2, optimizer="reset"))
    loop = train(config)
    (worker,) = loop._fleet._virtual.workers
    assert not worker.snapshot()["own"]
    messages = {id(state.held) for state in worker._dormant.values() if state.held and state.held.message}
    assert len(messages) <= 2, "devices share the weights that they hold"
    together = mode in ("merged", "splitfed_v1")
    assert len(worker._free) == (2 if together else 1), "as many sides as devices in the middle of their steps"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"count": 1}, "virtual devices are many, and count is 1; raise it, or set kind=real"),
        ({"count": 2, "data": ["folder:a", "folder:b"]}, "virtual devices share one data set, and data names one for"),
        ({"count": 2, "workers": 3}, "workers=3 is more than count=2; lower it"),
        ({"count": 2, "missing": "skip"}, "virtual devices are not lost, and missing, deadline_s and minimum are"),
        ({"count": 2, "minimum": 2}, "virtual devices are not lost"),
        (
            {"count": 2, "kind": "real", "workers": 2},
            "workers is for virtual devices, and kind is real; set kind=virt",
        ),
    ],
)
def test_settings_that_virtual_devices_do_not_have(settings, text):
    with pytest.raises(ValueError, match=text):
        DevicesConfig.model_validate({"kind": "virtual"} | settings)


def test_shards_that_are_no_micro_batches():
    config = virtual(many_config("fedavg", count=100, shards="iid")).with_settings(["train.in_flight=2"])
    with pytest.raises(
        DataError, match="1 training rows on device 60 cannot be 2 micro-batches; set train.in_flight=1"
    ):
        train(config)
