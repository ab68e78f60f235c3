"""Trials of split training: forecasts against real runs, and a first stage that trials share."""

from __future__ import annotations

import pytest
import torch

from raysplit.config import ByteBudget, Level, Prune, Stage
from raysplit.data import load, read_facts
from raysplit.errors import BundleError
from raysplit.family import load_family, load_run
from raysplit.folders.reader import read_run
from raysplit.folders.search_dir import SearchDir
from raysplit.models import build
from raysplit.search.split_trial import STATES, find_shared_stage, forecast_split
from raysplit.search.trial import count_epochs, find_fault, run_trial
from raysplit.train.local import train_local
from tests.search.searches import base_recipe, make_search, make_trial
from tests.train.recipes import family_config, plain_config, squeezed_config


def test_a_schedule_that_cannot_be_met_is_a_fault(tmp_path):
    tight = base_recipe().replaced(schedule=ByteBudget(ladder=(Level("all.b4/b4"),), megabytes=0.001))
    assert "megabytes" in find_fault(make_search(tmp_path, recipe=tight), tight)


def test_a_forecast_bounds_what_a_run_reaches(tmp_path):
    search = make_search(tmp_path, recipe=family_config())
    reports = list(run_trial(search, 0, family_config(), SearchDir.at(str(tmp_path / "s"))))
    forecast, reached = forecast_split(search, family_config()), reports[-1].objectives
    assert reached["bytes"] <= forecast["bytes"] <= 1.5 * reached["bytes"]
    assert reached["seconds"] <= forecast["seconds"]
    assert (reached["image_bytes"], reached["answer_s"]) == (forecast["image_bytes"], forecast["answer_s"])
    assert [one.trained for one in reports] == [one.epoch for one in reports]
    assert [one.last for one in reports] == [False] * (count_epochs(family_config()) - 1) + [True]


def test_a_shared_stage_is_restored_and_changes_nothing(tmp_path):
    search, folder = make_search(tmp_path, recipe=family_config()), SearchDir.at(str(tmp_path / "s"))
    first = list(run_trial(search, 1, family_config(), folder))
    again = list(run_trial(search, 2, family_config(), folder))
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
    search, folder = make_search(tmp_path, recipe=recipe), SearchDir.at(str(tmp_path / "s"))
    first = list(run_trial(search, 0, recipe, folder))
    file.unlink()
    again = list(run_trial(search, 1, recipe, folder))
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


def test_a_trial_on_the_front_leaves_its_family(tmp_path):
    search, folder = make_search(tmp_path, recipe=family_config()), SearchDir.at(str(tmp_path / "s"))
    folder.claim(search)
    last = list(run_trial(search, 0, family_config(), folder))[-1]
    shared = list(run_trial(search, 1, family_config(), folder))[-1]
    assert last.objectives == shared.objectives
    summary = train_local(family_config(), str(tmp_path / "run"))
    run, trained, restored = (str(tmp_path / name) for name in ("run", "s/front/0000", "s/front/0001"))
    images = load(family_config().data, "test").images[:9]
    for entry in load_family(run).levels:
        logits = load_run(run, entry.level)(images)
        assert torch.equal(load_run(trained, entry.level)(images), logits)
        assert torch.equal(load_run(restored, entry.level)(images), logits)
    assert load_run(trained).accuracy == summary.accuracy and read_run(trained).summary.run_dir == trained


def test_a_trial_that_another_one_beats_leaves_nothing(tmp_path):
    search, folder = make_search(tmp_path, recipe=squeezed_config()), SearchDir.at(str(tmp_path / "s"))
    folder.write_trial(make_trial(0, 1.0, objectives={"accuracy": 1.0, "bytes": 1, "seconds": 0.0}), search.objectives)
    list(run_trial(search, 1, squeezed_config(), folder))
    folder.write_trial(make_trial(0, 1.0, state="stopped", objectives={"accuracy": 1.0}), search.objectives)
    assert not (tmp_path / "s/front").exists()
    list(run_trial(search, 2, squeezed_config(), folder))
    assert [path.name for path in (tmp_path / "s/front").iterdir()] == ["0002"]
    with pytest.raises(BundleError, match=rf"is a search; name a point of its front: {tmp_path}/s/front/0002$"):
        folder.claim(search)
        load_run(folder.location)
