"""Training whose steps draw their levels: what crosses, what is kept apart, and that it resumes."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load

from raysplit import load_family, load_run, read_run
from raysplit.config import BottleneckConfig, Level, Nested
from raysplit.device.halves import DeviceHalves
from raysplit.errors import ConfigError
from raysplit.family.export import export
from raysplit.folders.run_dir import RunDir
from raysplit.records.epoch import total_traffic
from raysplit.report.plots import _compare_levels
from raysplit.train.costs import step_bytes
from raysplit.train.local import train_local
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from tests.serving.split.messages import make_client
from tests.train.freezing import HEAD, Tap

MIXED = ("c2.b4/b4", "c6.b4/b8", "all.b8/b8")
PHASES = ({"levels": MIXED, "share": 2}, {"levels": MIXED[-1:], "share": 1})


@pytest.fixture
def nested(squeezed):
    """Two epochs that mix three levels, one at the loosest of them; three steps each."""
    return squeezed.replaced(
        bottleneck=BottleneckConfig(start="identity", order="fixed"),
        schedule=Nested(phases=PHASES),
        train=squeezed.train.replaced(epochs=3),
    )


def levels_of(config, epochs=2):
    """The level of each step of the first epochs, as text."""
    decision = config.schedule.decide(Loop(config, LocalDevice(config))._decisions.context, [])
    return [decision.level_at(step, config.train.seed) for step in range(3 * epochs)]


@pytest.mark.parametrize("in_flight", [1, 2])
def test_each_step_crosses_at_its_own_level_both_ways(nested, in_flight):
    config = nested.replaced(train=nested.train.replaced(in_flight=in_flight))
    tap = Tap(config)
    loop = Loop(config, tap)
    records = list(loop.epochs())
    drawn = levels_of(config)
    assert len(set(drawn)) > 1
    sent = tap.up()[: 6 * in_flight]
    assert [activation.bits for activation, _ in sent] == [level.up_bits for level in drawn for _ in range(in_flight)]
    kept = [16 if activation.channels is None else len(activation.channels) for activation, _ in sent]
    assert kept == [level.channels or 16 for level in drawn for _ in range(in_flight)]
    for record, of_epoch in zip(records, (drawn[:3], drawn[3:], [config.schedule.phases[1].level] * 3), strict=True):
        steps = [step_bytes(config, level, loop.code_shape, 1, 10) for level in of_epoch]
        assert (record.bytes_up, record.bytes_down) == (sum(one.up for one in steps), sum(one.down for one in steps))
        assert record.level == "all·b8/b8"


@pytest.mark.parametrize("order", ["learned", "fixed"])
def test_a_stopped_run_goes_on_with_the_draws_and_statistics_of_the_whole(nested, tmp_path, order):
    config = nested.replaced(bottleneck=BottleneckConfig(start="identity", order=order))

    def stop(epoch, step, steps, loss):
        if (epoch, step) == (1, 2):
            raise KeyboardInterrupt

    train_local(config, str(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        train_local(config, str(tmp_path / "stopped"), on_step=stop)
    train_local(config, str(tmp_path / "stopped"))
    one, other = (RunDir.at(str(tmp_path / name)) for name in ("whole", "stopped"))
    for half in ("device", "server"):
        assert one.read(f"{half}.safetensors") == other.read(f"{half}.safetensors")
    timeless = [(record.level, record.reason, record.bytes, record.val_loss) for record in one.records()]
    assert timeless == [(row.level, row.reason, row.bytes, row.val_loss) for row in other.records()]


def test_logits_learn_in_steps_with_a_budget_alone(nested):
    learned = BottleneckConfig(start="identity", order="learned")
    config = nested.replaced(bottleneck=learned, train=nested.train.replaced(momentum=0.0))
    tap = Tap(config)
    loop = Loop(config, tap)
    side, seen = tap.local._side, []
    step = side._optimizer.step

    def watch(number):
        before = side._half.encoder.logits.detach().clone()
        step(number)
        seen.append(not torch.equal(side._half.encoder.logits, before))

    side._optimizer.step = watch
    list(loop.epochs())
    assert seen == [level.channels is not None for level in levels_of(config)] + 3 * [False]


def test_each_level_has_statistics_of_its_own(nested):
    """Validation is at those of its level, with which the last phase goes on."""
    loop = Loop(nested, LocalDevice(nested))
    list(zip(range(2), loop.epochs(), strict=False))
    statistics = loop._server._statistics
    assert statistics._level == "all·b8/b8"
    drawn = {str(level) for level in levels_of(nested)}
    assert len(drawn) > 1 and set(statistics._kept) | {statistics._level} >= drawn
    name = next(name for name, _ in loop._server._half.named_buffers() if name.endswith("running_mean"))
    now = {"all·b8/b8": loop._server._half.get_buffer(name)}
    means = [tuple(mean.tolist()) for mean in ({k: v[name] for k, v in statistics._kept.items()} | now).values()]
    assert len(set(means)) == len(means)


def test_a_family_of_levels_that_learned_at_once(nested, tmp_path):
    keep = [{"levels": [level], "share": 1, "keep": True} for level in ("c2.b4/b4", "all.b8/b8")]
    config = nested.replaced(schedule=Nested(phases=({"levels": MIXED, "share": 1}, *keep)))
    run = RunDir.at(train_local(config, str(tmp_path)).run_dir)
    first, second = (load(run.read(f"levels/{index}.safetensors")) for index in range(2))
    mean = next(name for name in first if name.startswith("server.") and name.endswith("running_mean"))
    assert not torch.equal(first[mean], second[mean])
    assert [record.test_accuracy is not None for record in run.records()] == [False, True, True]


@pytest.mark.parametrize("kept", [("c2.b4/b4", "all.b8/b8"), ("c6.b4/b8", "all.b8/b8", "c2.b4/b4")])
def test_a_familys_levels_are_loosest_first_in_whatever_order_they_were_kept(nested, tmp_path, kept):
    keep = [{"levels": [level], "share": 1, "keep": True} for level in kept]
    config = nested.replaced(schedule=Nested(phases=keep))
    run = train_local(config, str(tmp_path)).run_dir
    trained, family = [str(Level(level)) for level in kept], load_family(run)
    loosest_first = sorted(trained, key=["all·b8/b8", "c6·b4/b8", "c2·b4/b4"].index)
    assert [level.level for level in family.levels] == loosest_first == list(DeviceHalves(family).levels)
    with make_client(family) as client:
        assert [level["level"] for level in client.get("/v1/family").json()["levels"]] == loosest_first
    assert [level.level for level in family.manifest.levels] == trained
    assert load_run(run).level == trained[-1] and load_run(run).accuracy == read_run(run).summary.accuracy
    exported = export(run, "device", str(tmp_path / "device.pt2"))
    assert exported.level == "all·b8/b8" and exported.channels is None
    assert _compare_levels(read_run(run)).endswith("reduction") and "at 0" not in _compare_levels(read_run(run))


def test_the_device_may_learn_by_its_own_loss(nested):
    config = nested.replaced(train=nested.train.replaced(local_loss=HEAD))
    records = list(Loop(config, LocalDevice(config)).epochs())
    assert {record.mode for record in records} == {"local"} and total_traffic(records) > 0


def test_codes_of_a_device_that_rests_cross_once(nested):
    train = nested.train.replaced(device_half="frozen")
    schedule = Nested(phases=({"levels": ("all.b4/b4", "all.b8/b8"), "share": 1},))
    config = nested.replaced(bottleneck=None, train=train, schedule=schedule)
    with pytest.raises(ConfigError, match="schedule Nested: decide chose a mixture of levels in the mode 'frozen'"):
        list(Loop(config, LocalDevice(config)).epochs())
