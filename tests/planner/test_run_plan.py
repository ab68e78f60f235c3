"""Plans without training, for every recipe."""

from __future__ import annotations

import pytest
import torch
from raysplit.schedules.decide import foresee

from raysplit import recipes
from raysplit.config import SplitConfig, parse
from raysplit.errors import ConfigError, CutError, DataError, ModelError
from raysplit.planner.run_plan import check, plan
from raysplit.torch_utils.seeds import mix, seeded
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from tests.train.freezing import HEAD, crossed


@pytest.fixture
def untimed(monkeypatch):
    """The time of a step is measured elsewhere; here it would be most of the test's."""
    monkeypatch.setattr("raysplit.planner.run_plan._time_step", lambda *_: 0.0)


def test_a_plan_says_what_a_run_will_cost(squeezed):
    made = plan(squeezed)
    text = str(made)
    assert made.steps == 3 and made.step_seconds > 0
    assert "level    c2·b4/b4·zstd: " in text and "B up" in text and "1 epochs" in text
    assert "cut at features.7: 16×2×2 per image" in text
    assert "traffic" in text and "at most" in text and "time     about" in text


TIGHT, LOOSE = "c2.b4/b4", "all.b8/b8"


def scheduled(squeezed, schedule, local=False):
    tree = squeezed.model_dump(mode="json") | {"schedule": schedule}
    tree["train"] |= {"epochs": 4, "local_loss": HEAD.model_dump() if local else None}
    return parse(SplitConfig, tree, "here")


def phase(level, share=1):
    return {"level": level, "share": share}


FREEZE = {"kind": "freeze_and_cache", "learn": phase(TIGHT), "send": phase(LOOSE, 3), "views": 2}
FINISH = FREEZE | {"views": 1, "send": phase(LOOSE, 2), "finish": phase("c4.b2/b2")}


@pytest.mark.parametrize(
    ("schedule", "local", "texts"),
    [
        ({"kind": "fixed", "level": TIGHT}, False, ["4 epochs"]),
        ({"kind": "fixed", "level": TIGHT}, True, ["4 epochs (4 local)"]),
        ({"kind": "deprune", "phases": [phase(TIGHT, 3), phase(LOOSE)]}, False, ["3 epochs", "1 epochs"]),
        ({"kind": "prune", "phases": [phase(LOOSE, 3), phase(TIGHT)]}, False, ["3 epochs", "1 epochs"]),
        (FREEZE, False, ["1 epochs", "3 epochs (2 frozen, 1 cached)"]),
        (FREEZE, True, ["1 epochs (1 alone)", "3 epochs (2 frozen, 1 cached)"]),
        (FINISH, True, ["1 epochs (1 alone)", "2 epochs (1 frozen, 1 cached)", "1 epochs"]),
        ({"kind": "byte_budget", "ladder": [TIGHT, LOOSE], "megabytes": 0.02}, False, ["3 epochs", "1 epochs"]),
    ],
    ids=["fixed", "local", "deprune", "prune", "freeze", "freeze_alone", "freeze_finish", "byte_budget"],
)
def test_foreseen_bytes_are_those_of_the_run(squeezed, untimed, schedule, local, texts):
    """Exact levels: the plan's levels and epochs, its bytes and the run's."""
    config = scheduled(squeezed, schedule, local)
    made = plan(config)
    lines = [line for line in str(made).splitlines() if line.startswith("level")]
    assert [line.split(" a step, ")[1] for line in lines] == texts
    torch.set_num_threads(1)
    rows = list(Loop(config, LocalDevice(config)).epochs())
    decisions = foresee(config.schedule, made._course())
    assert [(str(d.level), d.mode, d.reason) for d in decisions] == [
        (row["level"], row["mode"], row["reason"]) for row in rows
    ]
    assert made._most(decisions) == sum(map(crossed, rows)) > 0
    traffic = next(line for line in str(made).splitlines() if line.startswith("traffic"))
    assert "at most" not in traffic


@pytest.mark.parametrize(("local", "per_step"), [(False, "up + down"), (True, "up")])
@pytest.mark.parametrize("kind", [{"kind": "plateau"}, {"kind": "link_aware", "step_s": 0.1}])
def test_what_waits_for_the_run_is_bounded_by_its_loosest_level(squeezed, untimed, kind, local, per_step):
    made = plan(scheduled(squeezed, kind | {"ladder": [TIGHT, LOOSE]}, local))
    text = str(made)
    up, down, _ = made._step(made.config.levels()[1], (16, 2, 2))
    assert f"level    all·b8/b8: {up:,} B up and {down:,} B down a step\n" in text
    assert made._most(None) == 4 * 3 * {"up + down": up + down, "up": up}[per_step]
    assert f"traffic  {made._most(None) / 1e6:,.1f} MB at most" in text


def test_a_budget_with_zstd_is_a_bound(squeezed, untimed):
    ladder = [f"{TIGHT}.zstd", f"{LOOSE}.zstd"]
    text = str(plan(scheduled(squeezed, {"kind": "byte_budget", "ladder": ladder, "megabytes": 0.02})))
    assert "B down a step at most, 3 epochs" in text and "MB at most; fp32" in text


def test_a_budget_that_cannot_be_kept_shows_in_the_plan(squeezed, untimed):
    made = plan(scheduled(squeezed, {"kind": "byte_budget", "ladder": [TIGHT], "megabytes": 0.001}))
    with pytest.raises(ConfigError, match=r"megabytes=0.001 is too little: 4 epochs .* allow more"):
        str(made)


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
        check(squeezed.replaced(**change))


def test_a_torch_device_that_is_not_here(squeezed):
    with pytest.raises(ConfigError, match="train.device 'nonsense' cannot be used here"):
        check(squeezed.replaced(train=squeezed.train.replaced(device="nonsense")))


def test_data_that_only_the_device_has_are_left_to_it(squeezed):
    check(squeezed.replaced(data=squeezed.data.replaced(name="parquet:/only/on/the/device")))


@pytest.mark.parametrize("name", [name for name in recipes.names() if "imagenet" not in name or name.endswith("r1")])
def test_every_recipe_has_a_plan(name, untimed):
    assert f"recipe   {name}\n" in str(plan(recipes.get(name)))


def test_seeds_are_stable_and_leave_the_callers_stream_alone():
    assert mix(0, "device", 1) == mix(0, "device", 1) != mix(0, "server", 1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded(7, torch.device("cpu")):
        first = torch.rand(3)
    with seeded(7, torch.device("cpu")):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)
