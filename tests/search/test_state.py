"""The state of a search: each point once, a budget that holds, and a folder that a search continues from."""

from __future__ import annotations

import json

import pytest

from raysplit import recipes
from raysplit.errors import ConfigError
from raysplit.folders.search_dir import SearchDir
from raysplit.records.trial import RefusedPoint
from raysplit.search.results import write_results
from raysplit.search.state import NoTrial, SearchState, extrapolate_objectives
from raysplit.search.trial import forecast_objectives
from tests.search.searches import SPACE, make_report, make_search, make_trial

PAIR = """
from ray import tune

def param_space(base):
    return {"train.batch_size": tune.choice([32, 50]), "train.in_flight": tune.choice([1, 4])}
"""


def test_an_unknown_key_is_refused_before_anything_is_written(tmp_path):
    space = SPACE.replace("up_bits", "up_bit")
    with pytest.raises(ConfigError, match=r"unknown key 'up_bit'.*Nearest: up_bits"):
        SearchState(make_search(tmp_path, space), SearchDir.at(str(tmp_path / "s")))
    assert not (tmp_path / "s").exists()


def test_every_point_once_and_failures_are_counted(tmp_path):
    folder, search = SearchDir.at(str(tmp_path / "s")), make_search(tmp_path)
    folder.claim(search)
    ended = []
    state = SearchState(search, folder, ended.append)
    for accuracy in (0.5, None, 0.7):
        number = state.next_trial().number
        if accuracy is None:
            state.end_trial(number, "failed", None, fault="broken")
        else:
            state.end_trial(number, "finished", make_report(accuracy), start_s=0.1)
    assert [trial.state for trial in ended] == ["finished", "failed", "finished"]
    resumed = SearchState(search, folder)  # as after a kill
    number = resumed.next_trial().number
    assert number == 3
    resumed.end_trial(number, "finished", make_report(0.6, bytes=5))
    assert resumed.next_trial() is NoTrial.DONE
    trials = folder.trials()
    assert len({trial.recipe.split('"cut"')[1] for trial in trials}) == 4
    assert trials[1].fault == "broken" and trials[1].objectives == {} and trials[0].start_s == 0.1
    write_results(folder)
    kept = sorted(path.name for path in (tmp_path / "s" / "recipes").iterdir())
    assert kept == ["0002.json", "0003.json"]
    for name in kept:
        assert recipes.get(str(tmp_path / "s" / "recipes" / name)).train.epochs == 2


def test_the_epochs_are_never_exceeded(tmp_path):
    state = SearchState(make_search(tmp_path, max_epochs=4), SearchDir.at(str(tmp_path / "s")))
    first, second = state.next_trial(), state.next_trial()
    assert state.next_trial() is NoTrial.WAIT
    state.end_trial(first.number, "finished", make_report(0.5))
    assert state.next_trial() is NoTrial.WAIT  # the other one may yet be stopped
    state.end_trial(second.number, "finished", make_report(0.5))
    assert state.next_trial() is NoTrial.DONE


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_values_that_contradict_each_other_are_refused_and_the_search_continues(tmp_path, sampler):
    folder, search = SearchDir.at(str(tmp_path / "s")), make_search(tmp_path, PAIR, sampler=sampler)
    folder.claim(search)
    state = SearchState(search, folder)
    tried = []
    while not isinstance(trial := state.next_trial(), NoTrial):
        tried.append((trial.config.train.batch_size, trial.config.train.in_flight))
        state.end_trial(trial.number, "finished", make_report(0.5))
    assert sorted(tried) == [(32, 1), (32, 4), (50, 1)]
    [refused] = state.sampler.refused
    assert refused.point == {"train.batch_size": 50, "train.in_flight": 4}
    assert "not a multiple of in_flight 4" in refused.reason
    write_results(folder, state.sampler.refused)
    assert folder.refused() == [refused]
    written = json.loads((tmp_path / "s" / "refused.json").read_text())
    assert [RefusedPoint.model_validate(one) for one in written] == [refused]


def test_a_stopped_trial_is_extrapolated_and_others_are_not():
    finished = make_trial(0, 0.9, epochs=0)
    assert extrapolate_objectives(finished, 0)["bytes"] == 10
    stopped = make_trial(0, 0.9, state="stopped", epochs=2)
    assert extrapolate_objectives(stopped, 6) == {"accuracy": 0.9, "bytes": 30, "seconds": 3.0}
    assert extrapolate_objectives(make_trial(0, None), 6) is None


def test_it_starts_with_points_that_are_on_the_front_whatever_their_accuracy(tmp_path):
    search = make_search(tmp_path, sampler="tpe")
    state = SearchState(search, SearchDir.at(str(tmp_path / "s")))
    config = state.next_trial().config
    assert config.levels()[0].up_bits == 2
    forecast = forecast_objectives(search, config)
    assert forecast["bytes"] == min(
        forecast_objectives(search, state.space.build_config(point))["bytes"] for point in state.space.points()
    )


def test_only_the_front_keeps_its_networks(tmp_path):
    folder, search = SearchDir.at(str(tmp_path / "s")), make_search(tmp_path)
    folder.claim(search)
    state = SearchState(search, folder)

    def kept():
        return sorted(path.name for path in (tmp_path / "s/front").iterdir())

    numbers = [state.next_trial().number for _ in range(4)]
    for number in numbers:
        folder.write(f"front/{number:04}/manifest.json", b"12345")
    state.end_trial(0, "finished", make_report(0.5))
    assert kept() == ["0000", "0001", "0002", "0003"]  # those that are running may have written theirs
    state.end_trial(1, "finished", make_report(0.7))
    assert kept() == ["0001", "0002", "0003"]
    state.end_trial(2, "stopped", make_report(0.9))
    state.end_trial(3, "finished", make_report(0.6, bytes=5))
    assert kept() == ["0001", "0003"] and folder.network_bytes() == 10
    folder.write("front/.hidden", b"of a file manager")
    folder.write("front/0007/levels/0.safetensors", b"of a trial that was lost")
    write_results(folder)
    assert kept() == [".hidden", "0001", "0003"]
