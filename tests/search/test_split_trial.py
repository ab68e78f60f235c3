"""Trials of split training: forecasts against real runs, and a first stage that trials share."""

from __future__ import annotations

import torch

from raysplit.config import ByteBudget, Level, Prune, Stage
from raysplit.data import read_facts
from raysplit.models import build
from raysplit.search.split_trial import STATES, find_shared_stage, forecast_split
from raysplit.search.trial import count_epochs, find_fault, run_trial
from raysplit.utils.storage import Folder
from tests.search.searches import base_recipe, make_search
from tests.train.recipes import family_config, plain_config


def test_a_schedule_that_cannot_be_met_is_a_fault(tmp_path):
    tight = base_recipe().replaced(schedule=ByteBudget(ladder=(Level("all.b4/b4"),), megabytes=0.001))
    assert "megabytes" in find_fault(make_search(tmp_path, recipe=tight), tight)


def test_a_forecast_bounds_what_a_run_reaches(tmp_path):
    search = make_search(tmp_path, recipe=family_config())
    reports = list(run_trial(search, family_config(), Folder.at(str(tmp_path / "s"))))
    forecast, reached = forecast_split(search, family_config()), reports[-1].objectives
    assert reached["bytes"] <= forecast["bytes"] <= 1.5 * reached["bytes"]
    assert reached["seconds"] <= forecast["seconds"]
    assert (reached["image_bytes"], reached["answer_s"]) == (forecast["image_bytes"], forecast["answer_s"])
    assert [one.trained for one in reports] == [one.epoch for one in reports]
    assert [one.last for one in reports] == [False] * (count_epochs(family_config()) - 1) + [True]


def test_a_shared_stage_is_restored_and_changes_nothing(tmp_path):
    search, folder = make_search(tmp_path, recipe=family_config()), Folder.at(str(tmp_path / "s"))
    first = list(run_trial(search, family_config(), folder))
    again = list(run_trial(search, family_config(), folder))
    assert len(again) < len(first) and again[0].trained == 1
    assert [one.objectives for one in again] == [one.objectives for one in first[-len(again) :]]


def test_a_shared_stage_goes_on_without_the_weights_that_it_started_from(tmp_path):
    """With a device half that rests: nothing is counted down, and a forecast of it is what a trial reaches."""
    file = tmp_path / "vgg11.pth"
    phases = tuple(Stage(level=level, share=1) for level in ("all.b8/b8", "all.b4/b4"))
    plain = plain_config()
    recipe = plain.replaced(
        data=plain.data.replaced(augment="none"),
        model=plain.model.replaced(weights=str(file)),
        schedule=Prune(phases=phases),
        train=plain.train.replaced(epochs=4, device_half="frozen"),
    )
    known = read_facts(recipe.data)
    torch.save(build(recipe.model.without_start(), len(known.classes), known.shape).state_dict(), file)
    search, folder = make_search(tmp_path, recipe=recipe), Folder.at(str(tmp_path / "s"))
    first = list(run_trial(search, recipe, folder))
    file.unlink()
    again = list(run_trial(search, recipe, folder))
    assert [one.epoch for one in again] == [3, 4]
    assert [one.objectives for one in again] == [one.objectives for one in first[2:]]
    assert first[0].objectives["bytes"] == first[1].objectives["bytes"] < first[2].objectives["bytes"]
    assert forecast_split(search, recipe)["bytes"] == first[-1].objectives["bytes"]


def test_only_the_first_stage_and_what_trains_it_decide_what_is_shared():
    config = family_config()
    stage = find_shared_stage(config)
    assert stage.file.startswith(f"{STATES}/") and stage.epochs == 2
    for same in (config.replaced(name="another"), config.with_settings(["schedule.phases.2.level.channels=3"])):
        assert find_shared_stage(same) == stage
    for other in (["train.lr=0.1"], ["schedule.phases.0.share=8"], ["schedule.phases.0.level.up_bits=8"]):
        assert find_shared_stage(config.with_settings(other)).file != stage.file
    assert find_shared_stage(base_recipe()) is None
