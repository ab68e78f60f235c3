import json
import random

import pytest

from raysplit import recipes
from raysplit.config import ByteBudget, Deprune, Level, Phase
from raysplit.errors import ConfigError
from raysplit.folders.search_dir import SearchDir
from raysplit.hardware.link import get_link
from raysplit.hardware.machine import NAMED
from raysplit.planner.static_plan import last_level
from raysplit.search.config import SearchConfig
from raysplit.search.pareto_asha import ParetoASHA
from raysplit.search.run import SearchState, _values
from raysplit.search.run import search as run_search
from raysplit.search.space import Space
from raysplit.search.trial import expected, fault_of, reports
from tests.train.recipes import family_config

GOOD = """
from ray import tune

def param_space(base):
    return {"cut": tune.choice(["features.3", "features.7"]), "schedule.level.up_bits": tune.choice([2, 4])}
"""


def base():
    return recipes.get("cifar10_vgg11_fixed").with_settings(["train.epochs=2"])


def asked(tmp_path, space=GOOD, **changes):
    file = tmp_path / "space.py"
    file.write_text(space)
    machines = {"link": get_link("wifi"), "device": NAMED["pi4"], "server": NAMED["server"]}
    return SearchConfig(**{"recipe": base(), "space": str(file), "sampler": "random", **machines, **changes})


PAIR = """
from ray import tune

def param_space(base):
    return {"train.batch_size": tune.choice([32, 50]), "train.in_flight": tune.choice([1, 4])}
"""


def report(accuracy, **more):
    return {"epoch": 2, "trained": 2, "accuracy": accuracy, "bytes": 10, "seconds": 1.0, "start_s": 0.1} | more


def test_a_key_that_no_config_has_is_refused(tmp_path):
    space = GOOD.replace("up_bits", "up_bit")
    with pytest.raises(ConfigError, match=r"unknown key 'up_bit'.*Nearest: up_bits"):
        SearchState(asked(tmp_path, space), SearchDir.at(str(tmp_path / "s")))
    assert not (tmp_path / "s").exists()


def test_a_point_is_a_config(tmp_path):
    space = Space(asked(tmp_path).space, base())
    config = space.config({"cut": "features.3", "schedule.level.up_bits": 2})
    assert config.cut == "features.3" and config.levels()[0].up_bits == 2
    assert len(list(space.points())) == 4


def test_every_point_once_and_failures_are_counted(tmp_path):
    place = SearchDir.at(str(tmp_path / "s"))
    search = asked(tmp_path)
    place.claim(search)
    ledger = SearchState(search, place)
    for accuracy in (0.5, None, 0.7):
        number, _ = ledger.begin()
        if accuracy is None:
            ledger.end(number, "failed", {}, "broken")
        else:
            ledger.end(number, "finished", report(accuracy))
    again = SearchState(search, place)  # as after a kill
    number, _ = again.begin()
    assert number == 3
    again.end(number, "finished", report(0.6, bytes=5))
    assert again.begin() is None
    trials = place.trials()
    assert len({trial["recipe"].split('"cut"')[1] for trial in trials}) == 4
    place.write_results()
    kept = sorted(path.name for path in (tmp_path / "s" / "recipes").iterdir())
    assert kept == ["0002.json", "0003.json"]
    for name in kept:
        assert recipes.get(str(tmp_path / "s" / "recipes" / name)).train.epochs == 2


def test_the_epochs_are_never_exceeded(tmp_path):
    ledger = SearchState(asked(tmp_path, max_epochs=4), SearchDir.at(str(tmp_path / "s")))
    first, _ = ledger.begin()
    second, _ = ledger.begin()
    assert ledger.begin() == "wait"
    ledger.end(first, "finished", report(0.5))
    assert ledger.begin() == "wait"  # the other one may yet be stopped
    ledger.end(second, "finished", report(0.5))
    assert ledger.begin() is None


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_values_that_do_not_go_together_are_refused_and_the_search_goes_on(tmp_path, sampler):
    place = SearchDir.at(str(tmp_path / "s"))
    search = asked(tmp_path, PAIR, sampler=sampler)
    place.claim(search)
    ledger = SearchState(search, place)
    found = []
    while (began := ledger.begin()) is not None:
        number, config = began
        found.append((config.train.batch_size, config.train.in_flight))
        ledger.end(number, "finished", report(0.5))
    assert sorted(found) == [(32, 1), (32, 4), (50, 1)]
    [(point, reason)] = ledger.sampler.refused
    assert point == {"train.batch_size": 50, "train.in_flight": 4} and "not a multiple of in_flight 4" in reason
    place.write_results(ledger.sampler.refused)
    assert json.loads((tmp_path / "s" / "refused.json").read_text()) == [{"point": point, "reason": reason}]


def test_a_schedule_that_cannot_be_kept_is_refused(tmp_path):
    thin = base().replaced(schedule=ByteBudget(ladder=(Level.model_validate("all.b4/b4"),), megabytes=0.001))
    assert "megabytes" in fault_of(asked(tmp_path, recipe=thin), thin)


def test_a_trial_that_was_not_stopped_has_its_own_values():
    done = {"state": "finished", "accuracy": 0.9, "bytes": 10, "seconds": 2.0, "epochs": 0}
    assert _values(done, 0)["bytes"] == 10
    stopped = done | {"state": "stopped", "epochs": 2}
    assert _values(stopped, 6)["bytes"] == 30 and _values(stopped | {"state": "failed"}, 6) is None


def test_a_large_space_is_drawn_from(tmp_path):
    keys = ", ".join(f'"{key}": tune.choice(list(range(1, 61)))' for key in ("train.batch_size", "train.epochs"))
    space = Space(asked(tmp_path, f"from ray import tune\ndef param_space(base):\n    return {{{keys}}}").space, base())
    found = space.some(100, random.Random(0))
    assert len(found) == 100 and len({point["train.batch_size"] for point in found}) > 20
    assert len(space.some(3600, random.Random(0))) == 3600


def test_another_search_in_the_folder_is_left_alone(tmp_path):
    place = SearchDir.at(str(tmp_path / "s"))
    place.claim(asked(tmp_path))
    with pytest.raises(ConfigError, match="holds another search"):
        run_search(asked(tmp_path, seed=1), place)


def test_the_last_level_is_the_one_that_a_run_ends_with():
    tight, loose = (Level.model_validate(text) for text in ("all.b2/b2", "all.b4/b4"))
    there_and_back = Deprune(phases=tuple(Phase(level=level, share=1) for level in (tight, loose, tight)))
    config = base().replaced(schedule=there_and_back, train=base().train.replaced(epochs=3))
    assert last_level(config) == tight and last_level(base()) == base().levels()[0]


def test_rungs_rank_by_dominance():
    rungs = ParetoASHA({"accuracy": "max", "bytes": "min"}, 1, 3)
    assert rungs.goes_on(1, {"accuracy": 0.9, "bytes": 100})
    assert rungs.goes_on(1, {"accuracy": 0.2, "bytes": 1})
    assert not rungs.goes_on(1, {"accuracy": 0.1, "bytes": 200})
    assert rungs.goes_on(2, {"accuracy": 0.0, "bytes": 999})  # no rung


def test_it_begins_with_points_that_are_on_the_front_whatever_their_accuracy(tmp_path):
    search = asked(tmp_path, sampler="tpe")
    ledger = SearchState(search, SearchDir.at(str(tmp_path / "s")))
    _, config = ledger.begin()
    assert config.levels()[0].up_bits == 2
    known = expected(search, config)
    assert known["bytes"] == min(
        expected(search, ledger.space.config(point))["bytes"] for point in ledger.space.points()
    )


def test_what_is_expected_bounds_what_a_run_comes_to(tmp_path):
    search = asked(tmp_path, recipe=family_config())
    found = list(reports(search, family_config(), str(tmp_path / "s")))
    known = expected(search, family_config())
    assert found[-1]["bytes"] <= known["bytes"] <= 1.5 * found[-1]["bytes"]
    assert found[-1]["seconds"] <= known["seconds"]
    assert [one["trained"] for one in found] == [one["epoch"] for one in found]


def test_a_shared_stage_is_taken_over_and_changes_nothing(tmp_path):
    search, place = asked(tmp_path, recipe=family_config()), str(tmp_path / "s")
    first = list(reports(search, family_config(), place))
    again = list(reports(search, family_config(), place))
    assert len(again) < len(first) and again[0]["trained"] == 1
    keys = ("accuracy", "bytes", "seconds")
    assert [[one[key] for key in keys] for one in again] == [[one[key] for key in keys] for one in first[-len(again) :]]
