"""Plans without training, for every recipe."""

from __future__ import annotations

import pytest
import torch

from raysplit import recipes
from raysplit.config import DataConfig, LocalLoss, SplitConfig, parse
from raysplit.errors import ConfigError, CutError, DataError, ModelError
from raysplit.planner.run_plan import check_run, make_run_plan
from raysplit.records.epoch import total_traffic
from raysplit.schedules import foresee
from raysplit.torch_utils.seeds import mix, seeded
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from tests.train.recipes import plain_config


@pytest.fixture
def untimed(monkeypatch):
    """Timing a step would take most of a test's time."""
    monkeypatch.setattr("raysplit.planner.run_plan._time_step", lambda *_: 0.0)


def test_a_plan_has_the_costs_of_a_run(squeezed):
    plan = make_run_plan(squeezed)
    text = str(plan)
    assert plan.steps == 3 and plan.step_seconds > 0
    assert "level    c2·b4/b4·zstd: " in text and "B up" in text and "1 epoch" in text
    assert "cut at features.7: 16×2×2 per image" in text
    assert "traffic" in text and "at most" in text and "time     about" in text


TIGHT, LOOSE = "c2.b4/b4", "all.b8/b8"
HEAD = LocalLoss(width=8, layers=1)


def scheduled(squeezed, schedule, local=False):
    tree = squeezed.model_dump(mode="json") | {"schedule": schedule}
    tree["train"] |= {"epochs": 4, "local_loss": HEAD.model_dump() if local else None}
    return parse(SplitConfig, tree, "the schedule")


def phase(level, share=1):
    return {"level": level, "share": share}


FREEZE = {"kind": "freeze_and_cache", "learn": phase(TIGHT), "send": phase(LOOSE, 3), "views": 2}
MIXED = {"levels": [{"level": TIGHT, "weight": 2}, LOOSE], "share": 3}
NESTED = {"kind": "nested", "phases": [MIXED, {"levels": [LOOSE], "share": 1}]}
FINISH = FREEZE | {"views": 1, "send": phase(LOOSE, 2), "finish": phase("c4.b2/b2")}


@pytest.mark.parametrize(
    ("schedule", "local", "texts"),
    [
        ({"kind": "fixed", "level": TIGHT}, False, ["4 epochs"]),
        ({"kind": "fixed", "level": TIGHT}, True, ["4 epochs (4 local)"]),
        ({"kind": "deprune", "phases": [phase(TIGHT, 3), phase(LOOSE)]}, False, ["3 epochs", "1 epoch"]),
        ({"kind": "prune", "phases": [phase(LOOSE, 3), phase(TIGHT)]}, False, ["3 epochs", "1 epoch"]),
        (NESTED, False, ["8 steps of 3 epochs", "4 steps of 4 epochs"]),
        (NESTED, True, ["8 steps of 3 epochs (3 local)", "4 steps of 4 epochs (4 local)"]),
        (FREEZE, False, ["1 epoch", "3 epochs (2 frozen, 1 cached)"]),
        (FREEZE, True, ["1 epoch (1 alone)", "3 epochs (2 frozen, 1 cached)"]),
        (FINISH, True, ["1 epoch (1 alone)", "2 epochs (1 frozen, 1 cached)", "1 epoch"]),
        ({"kind": "byte_budget", "ladder": [TIGHT, LOOSE], "megabytes": 0.02}, False, ["3 epochs", "1 epoch"]),
    ],
    ids=lambda given: given["kind"] if isinstance(given, dict) else None,
)
def test_foreseen_bytes_are_those_of_the_run(squeezed, untimed, schedule, local, texts):
    """Exact levels: the plan's levels and epochs, its bytes and the run's."""
    config = scheduled(squeezed, schedule, local)
    plan = make_run_plan(config)
    lines = [line for line in str(plan).splitlines() if line.startswith("level")]
    assert [line.split(" per step, ")[1] for line in lines] == texts
    records = list(Loop(config, LocalDevice(config)).epochs())
    decisions = foresee(config.schedule, plan.context())
    assert [(str(one.level), one.mode, one.reason) for one in decisions] == [
        (record.level, record.mode, record.reason) for record in records
    ]
    assert plan.max_traffic(decisions) == total_traffic(records) > 0
    traffic = next(line for line in str(plan).splitlines() if line.startswith("traffic"))
    assert "at most" not in traffic


@pytest.mark.parametrize(("local", "per_step"), [(False, "up + down"), (True, "up")])
@pytest.mark.parametrize("kind", [{"kind": "plateau"}, {"kind": "link_aware", "step_s": 0.1}])
def test_a_schedule_that_depends_on_measurements_is_bounded_by_its_loosest_level(
    squeezed, untimed, kind, local, per_step
):
    plan = make_run_plan(scheduled(squeezed, kind | {"ladder": [TIGHT, LOOSE]}, local))
    text = str(plan)
    step = plan.step_bytes(plan.config.levels()[1])
    assert plan.halves.code_shape == (16, 2, 2)
    down = 0 if local else step.down
    assert f"level    all·b8/b8: {step.up:,} B up and {down:,} B down per step\n" in text
    assert plan.max_traffic(None) == 4 * 3 * {"up + down": step.up + step.down, "up": step.up}[per_step]
    assert f"traffic  {plan.max_traffic(None) / 1e6:,.1f} MB at most" in text


def test_a_budget_with_zstd_is_a_bound(squeezed, untimed):
    ladder = [f"{TIGHT}.zstd", f"{LOOSE}.zstd"]
    text = str(make_run_plan(scheduled(squeezed, {"kind": "byte_budget", "ladder": ladder, "megabytes": 0.02})))
    assert "B down per step at most, 3 epochs" in text and "MB at most; fp32" in text


def test_a_budget_that_cannot_be_met_shows_in_the_plan(squeezed, untimed):
    plan = make_run_plan(scheduled(squeezed, {"kind": "byte_budget", "ladder": [TIGHT], "megabytes": 0.001}))
    with pytest.raises(ConfigError, match=r"megabytes=0.001 is too little: 4 epochs .* allow more"):
        str(plan)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"cut": "features.99"}, CutError, "features.99.*Nearest"),
        ({"model": {"name": "vgg12"}}, ModelError, "vgg12.*Nearest.*vgg1"),
        ({"data": {"name": "mnist5"}}, DataError, "mnist5.*mnist5k"),
        ({"schedule": {"kind": "fixed", "level": "c99.b4/b4"}}, ConfigError, "keeps 99 channels, 16 cross"),
        ({"bottleneck": {"stride": 2}, "cut": "classifier.1"}, ConfigError, "stride=2 needs a"),
    ],
)
def test_faults_show_before_anything_is_trained(squeezed, change, error, text):
    with pytest.raises(error, match=text):
        check_run(squeezed.replaced(**change))


def test_a_torch_device_that_is_not_here(squeezed):
    with pytest.raises(ConfigError, match="train.device 'nonsense' cannot be used here"):
        check_run(squeezed.replaced(train=squeezed.train.replaced(device="nonsense")))


@pytest.mark.parametrize("kind", ["parquet", "folder", "audio"])
def test_data_that_only_the_device_has_are_left_to_it(squeezed, kind):
    check_run(squeezed.replaced(data=DataConfig(name=f"{kind}:/only/on/the/device")))


OF_EACH_KIND = ("deprune", "uncompressed", "frozen", "prune_raysplit", "r2")
RECIPES = [name for name in recipes.names() if "imagenet" not in name or name.endswith("r1")]


@pytest.mark.parametrize(
    "name",
    [name if name.endswith(OF_EACH_KIND) else pytest.param(name, marks=pytest.mark.slow) for name in RECIPES],
)
def test_every_recipe_has_a_plan(name, untimed):
    assert f"recipe   {name}\n" in str(make_run_plan(recipes.get(name)))


def test_seeds_are_stable_and_leave_the_callers_stream_alone():
    assert mix(0, "device", 1) == mix(0, "device", 1) != mix(0, "server", 1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded(7, torch.device("cpu")):
        first = torch.rand(3)
    with seeded(7, torch.device("cpu")):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_plan_of_many_devices(untimed, squeezed):
    many = squeezed.with_settings(["devices.count=3", "train.batch_size=16", "devices.shards=classes(4)"])
    plan = make_run_plan(many)
    assert plan.steps == 3 * 2
    assert "devices  3, splitfed_v2, shards classes(4); weights cross too: " in str(plan)
    state = plan.halves.device.state_dict().values()
    assert plan.weights_bytes() == 4 * sum(tensor.numel() for tensor in state if tensor.is_floating_point())
    budget = {"kind": "byte_budget", "ladder": [TIGHT, LOOSE], "megabytes": 1.0}
    assert "2 epochs" in str(make_run_plan(many.replaced(schedule=budget)))


def test_a_plan_of_fedavg_has_weights_alone(untimed):
    many = plain_config().with_settings(["devices.count=2", "devices.mode=fedavg", "train.batch_size=16"])
    plan = make_run_plan(many)
    assert f"traffic  {4 * plan.weights_bytes() * many.train.epochs / 1e6:,.1f} MB" in str(plan)


def test_devices_without_a_batch_show_before_the_run(untimed):
    with pytest.raises(
        DataError, match=r"96 training rows do not fill a batch of 32 on each of 4 devices; lower train.b"
    ):
        check_run(plain_config().with_settings(["devices.count=4"]))
