"""A device half that rests, with every schedule, with and without a bottleneck."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from raysplit import read_run, train_local
from raysplit.config import BottleneckConfig, LocalLoss, SplitConfig, parse
from raysplit.errors import ConfigError
from raysplit.planner.run_plan import make_run_plan
from raysplit.records.epoch import total_traffic
from raysplit.schedules import Decision, foresee
from tests.train.test_frozen_parts import make_config, make_net, train

TIGHT, LOOSE = "all.b2/b2", "all.b8/b8"
LADDER = {"ladder": [TIGHT, LOOSE]}
HEAD = LocalLoss(width=4, layers=1)


def phases(*levels):
    return {"phases": [{"level": level, "share": 2} for level in levels]}


SCHEDULES = {
    "fixed": {"kind": "fixed", "level": TIGHT},
    "deprune": {"kind": "deprune", **phases(TIGHT, LOOSE)},
    "prune": {"kind": "prune", **phases(LOOSE, TIGHT)},
    "plateau": {"kind": "plateau", "patience": 1, "min_gain": 1.0, **LADDER},
    "link_aware": {"kind": "link_aware", "step_s": 1000.0, **LADDER},
    "byte_budget": {"kind": "byte_budget", "megabytes": 0.04, **LADDER},
}


def frozen(schedule, augment="none", bottleneck=None, **settings):
    config = make_config(bottleneck)
    return config.replaced(
        data=config.data.replaced(augment=augment),
        schedule=parse(SplitConfig, PLAIN | {"schedule": schedule}, "the test").schedule,
        train=config.train.replaced(epochs=4, device_half="frozen", **settings),
    )


PLAIN = {
    "name": "x",
    "data": {"name": "digits"},
    "model": {"name": "vgg5"},
    "cut": "features.3",
    "train": {"epochs": 4},
}


def device_tensors(loop):
    """Return the network's own tensors in the device half."""
    state = loop.weights()["device"]
    return {key.removeprefix("body."): value for key, value in state.items() if key.startswith("body.")}


def rests(loop):
    start = make_net().state_dict()
    return all(value.equal(start[key]) for key, value in device_tensors(loop).items())


@pytest.mark.parametrize(
    ("kind", "modes"),
    [
        ("fixed", "frozen cached cached cached"),
        ("deprune", "frozen cached frozen cached"),
        ("prune", "frozen cached frozen cached"),
        ("plateau", "frozen cached frozen cached"),
        ("link_aware", "frozen frozen cached cached"),
        ("byte_budget", "frozen cached cached cached"),
    ],
)
def test_codes_cross_once_at_each_level_and_nothing_comes_down(kind, modes):
    loop = train(frozen(SCHEDULES[kind]))
    assert [record.mode for record in loop.records] == modes.split()
    assert rests(loop) and all(record.bytes_down == 0 for record in loop.records)
    assert [record.bytes_up > 0 for record in loop.records] == [mode == "frozen" for mode in modes.split()]
    assert [record.bytes.evaluation > 0 for record in loop.records] == [mode == "frozen" for mode in modes.split()]
    assert all(record.lr_device == 0 for record in loop.records)
    losses = [record.train_loss for record in loop.records]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", SCHEDULES)
def test_new_images_cross_in_each_epoch(kind):
    loop = train(frozen(SCHEDULES[kind] | ({"megabytes": 0.2} if kind == "byte_budget" else {}), augment="crop"))
    assert {record.mode for record in loop.records} == {"frozen"} and rests(loop)
    assert all(record.bytes_up > 0 and record.bytes_down == 0 for record in loop.records)
    assert len(loop.state()["server"]["kept"]["views"]) == 1  # older views are of no use


@pytest.mark.parametrize("kind", SCHEDULES)
def test_with_a_bottleneck_its_encoder_is_trained(kind):
    larger = {"megabytes": 1} if kind == "byte_budget" else {}
    loop = train(frozen(SCHEDULES[kind] | larger, bottleneck=BottleneckConfig(), device_lr=0.01))
    assert {record.mode for record in loop.records} == {"joint"} and rests(loop)
    assert all(record.bytes_down > 0 and 0 < record.lr_device < record.lr for record in loop.records)
    side = loop._fleet.members[0].device._side
    assert side._optimizer.state()["state"] and not any(p.requires_grad for p in side._half.body.parameters())


FREEZE = {
    "kind": "freeze_and_cache",
    "learn": {"level": TIGHT, "share": 1},
    "send": {"level": LOOSE, "share": 3},
}


@pytest.mark.parametrize(
    ("bottleneck", "head", "modes"),
    [
        (BottleneckConfig(), None, "joint frozen frozen cached"),
        (BottleneckConfig(), HEAD, "alone frozen frozen cached"),
        (None, HEAD, "alone frozen frozen cached"),
    ],
)
def test_freeze_and_cache_trains_what_does_not_rest(bottleneck, head, modes):
    loop = train(frozen(FREEZE, bottleneck=bottleneck, local_loss=head, augment="crop"))
    assert [record.mode for record in loop.records] == modes.split() and rests(loop)
    assert len(loop.state()["server"]["kept"]["views"]) == 2


@pytest.mark.parametrize(
    ("schedule", "settings", "text"),
    [
        (FREEZE, {}, "leaves nothing to train; set schedule.kind to fixed"),
        (SCHEDULES["fixed"], {"local_loss": HEAD}, "leaves a local head nothing to train but itself"),
        (FREEZE | {"head": False}, {"local_loss": HEAD}, "leaves a local head nothing to train but itself"),
        (SCHEDULES["deprune"], {"device_lr": 0.1}, "nothing to train at train.device_lr; set train.device_lr to null"),
    ],
)
def test_what_would_train_nothing_is_refused(schedule, settings, text):
    with pytest.raises(ValidationError, match=text):
        parse_frozen(schedule, settings)


def parse_frozen(schedule, settings):
    train_tree = {"epochs": 4, "device_half": "frozen", **settings}
    return SplitConfig.model_validate(PLAIN | {"bottleneck": None, "schedule": schedule, "train": train_tree})


class Joint:
    """A schedule of a user's own, which knows nothing of a half that rests."""

    def levels(self):
        return frozen(SCHEDULES["fixed"]).levels()

    def decide(self, context, history):
        return Decision(self.levels()[0], "always", mode="joint")


def test_a_schedule_of_ones_own_is_told_that_nothing_is_trained():
    config = frozen(SCHEDULES["fixed"]).replaced(schedule=Joint())
    with pytest.raises(ConfigError, match="the mode 'joint', but nothing of the device half is trained; take context"):
        train(config)


def test_too_small_a_budget_for_one_pass():
    with pytest.raises(ConfigError, match=r"is too little: one pass at the tightest level all·b2/b2 may take 0\.0"):
        train(frozen(SCHEDULES["byte_budget"] | {"megabytes": 0.001}))


@pytest.mark.parametrize("kind", ["fixed", "deprune", "prune", "byte_budget"])
def test_the_plan_knows_that_nothing_comes_down_and_codes_cross_once(kind, monkeypatch):
    monkeypatch.setattr("raysplit.planner.run_plan._time_step", lambda *_: 0.0)
    config = frozen(SCHEDULES[kind])
    plan, records = make_run_plan(config), train(config).records
    decisions = foresee(config.schedule, plan.context())
    assert [one.mode for one in decisions] == [record.mode for record in records]
    assert plan.max_traffic(decisions) == total_traffic(records) > 0
    text = str(plan)
    assert " and 0 B down per step" in text and "1 frozen" in text
    assert "trained  0 of 48 parameters on the device, 591 of 591 parameters on the server at lr 0.05" in text


def test_the_plan_expects_less_work_of_epochs_from_the_cache(monkeypatch):
    monkeypatch.setattr("raysplit.planner.run_plan._time_step", lambda *_: 60.0)
    cached, sent = (make_run_plan(frozen(SCHEDULES["fixed"], augment)) for augment in ("none", "crop"))
    server = 3 * cached.profile.server_gflops
    share = server / (cached.profile.device_gflops + server)
    assert 0 < share < 1
    assert f"time     about {4 * sent.steps:,.1f} min" in str(sent)
    assert f"time     about {(1 + 3 * share) * cached.steps:,.1f} min" in str(cached)


@pytest.mark.parametrize("kind", ["plateau", "link_aware"])
def test_the_bound_of_what_measurements_decide_has_no_gradients(kind, monkeypatch):
    monkeypatch.setattr("raysplit.planner.run_plan._time_step", lambda *_: 0.0)
    plan = make_run_plan(frozen(SCHEDULES[kind]))
    assert plan.max_traffic(None) == 4 * plan.steps * plan.step_bytes(plan.config.levels()[1]).up
    assert " and 0 B down per step" in str(plan)


@pytest.mark.parametrize("kind", ["deprune", "prune", "byte_budget"])
@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_resumed_run_ends_with_the_same_weights(kind, stop, tmp_path):
    config = frozen(SCHEDULES[kind], freeze=["4.*"])
    whole = train_local(config, str(tmp_path / "whole"))

    class Stop(Exception):
        pass

    def interrupt(epoch, step, steps, loss):
        if epoch == stop:
            raise Stop

    with pytest.raises(Stop):
        train_local(config, str(tmp_path / "stopped"), interrupt)
    resumed = train_local(config, str(tmp_path / "stopped"))
    same = {"accuracy", "bytes_up", "bytes_down", "bytes_evaluation", "val_accuracy"}
    assert resumed.model_dump(include=same) == whole.model_dump(include=same)
    for half in ("device", "server"):
        one, two = ((tmp_path / name / f"{half}.safetensors").read_bytes() for name in ("whole", "stopped"))
        assert one == two
    rows = [read_run(str(tmp_path / name)).epochs for name in ("whole", "stopped")]
    assert [row.train_loss for row in rows[0]] == [row.train_loss for row in rows[1]]
