"""Noise at the cut through a run: what crosses, what is recorded, what goes on."""

from __future__ import annotations

import pytest
import torch

from raysplit.config import BottleneckConfig, Fixed, Level
from raysplit.device.halves import DeviceHalves
from raysplit.errors import ConfigError
from raysplit.family import load_run
from raysplit.folders.run_dir import RunDir
from raysplit.schedules import Decision
from raysplit.train.local import train_local
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from raysplit.train.run import read_newest_state
from raysplit.wire.message import parse
from tests.train.recipes import plain_config


def noisy_config(level="all.b32/b32.n50", **changes):
    config = plain_config()
    train = config.train.replaced(epochs=2)
    return config.replaced(name="noisy", schedule=Fixed(level=level), train=train, **changes)


def sent(config, split=None):
    """Return the first code that a device sends, in training or of a split."""
    device = LocalDevice(config)
    device.begin_epoch(0, Decision(config.schedule.level, "fixed"))
    uplink = device.forward() if split is None else device.evaluate(split, 0)
    return parse(uplink.result().activation)


def values(message):
    return torch.frombuffer(bytearray(message.body), dtype=torch.float32)


@pytest.mark.parametrize("split", [None, "val", "test"])
def test_what_crosses_is_noisy_in_training_and_evaluation(split):
    plain, noisy = (values(sent(noisy_config(level), split)) for level in ("all.b32/b32", "all.b32/b32.n50"))
    assert (noisy - plain).std() == pytest.approx(0.5 * plain.std(correction=0).item(), rel=0.1)
    assert torch.equal(noisy, values(sent(noisy_config(), split)))


def test_val_and_test_have_noise_of_their_own():
    first, second = (values(sent(noisy_config(), split)) for split in ("val", "test"))
    clean = [values(sent(noisy_config("all.b32/b32"), split)) for split in ("val", "test")]
    count = min(len(first), len(second))
    noise = [(a - b)[:count] / (a - b)[:count].std() for a, b in zip((first, second), clean, strict=True)]
    assert abs((noise[0] * noise[1]).mean()) < 0.1


def test_the_record_says_it_and_a_stopped_run_ends_the_same(tmp_path):
    config = noisy_config("c2.b8/b8.n30.zstd", bottleneck=BottleneckConfig())
    whole = RunDir.at(train_local(config, str(tmp_path / "whole")).run_dir)
    assert {record.level for record in whole.records()} == {"c2·b8/b8·n30·zstd"}
    stopped = RunDir.at(str(tmp_path / "stopped"))
    stopped.write("config.json", whole.read("config.json"))
    first = whole.checkpoints()[0]
    stopped.write(f"{first}/state.pt", whole.read(f"{first}/state.pt"))
    assert read_newest_state(stopped) is not None
    train_local(config, str(tmp_path / "stopped"))
    for half in ("device", "server"):
        assert stopped.read(f"{half}.safetensors") == whole.read(f"{half}.safetensors")


def test_noise_costs_no_bytes_without_an_entropy_stage():
    records = []
    for level in ("all.b4/b4", "all.b4/b4.n50"):
        loop = Loop(noisy_config(level), LocalDevice(noisy_config(level)))
        records.append(next(loop.epochs()))
    assert records[0].bytes == records[1].bytes
    assert records[0].train_loss != records[1].train_loss


def test_a_served_run_adds_noise_anew(tmp_path):
    run = train_local(noisy_config(), str(tmp_path)).run_dir
    network, images = load_run(run), torch.randint(0, 256, (32, 1, 8, 8), dtype=torch.uint8)
    assert network.level == "all·b32/b32·n50"
    halves = DeviceHalves(network.family)
    codes = [halves.encode(images, network.level) for _ in range(2)] + [network.encode(images) for _ in range(2)]
    assert len({bytes(code.body) for code in codes}) == 4
    same = {bytes(network.encode(images, seed=3).body) for _ in range(2)}
    assert len(same) == 1


def test_a_level_without_noise_is_written_as_ever():
    assert "noise" not in Level("all.b4/b4").model_dump()
    level = Level("c4.k8.b8/b4.ef.n25.zstd")
    assert level.model_dump()["noise"] == 25
    assert Level(**level.model_dump()) == level == Level(str(level))


def test_too_much_noise():
    with pytest.raises(ConfigError, match="noise.*less than or equal to 10000"):
        plain_config().with_settings(["schedule.level=all.b4/b4.n10001"])


def test_fedavg_sends_nothing_that_could_be_noisy():
    with pytest.raises(ConfigError, match="fedavg trains the whole network on each device"):
        noisy_config().with_settings(["devices.count=2", "devices.mode=fedavg"])
