"""What training jobs share; running one to its end is in tests/jobs."""

from __future__ import annotations

import pytest

from raysplit import recipes
from raysplit.cli.training_job import make_parser, read_config, train
from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir
from raysplit.train.local import train_local
from tests.train.recipes import squeezed_config


def parsed(*words: str):
    return make_parser("A job.").parse_args(words)


def test_a_recipe_with_settings():
    config = read_config(
        parsed("--recipe", "mnist5k_vgg11_deprune", "--set", "train.epochs=3", "--set", "train.seed=7")
    )
    assert config == recipes.get("mnist5k_vgg11_deprune").with_settings(["train.epochs=3", "train.seed=7"])


@pytest.mark.parametrize("words", [(), ("--recipe", "mnist5k_vgg11_deprune", "--resume", "somewhere")])
def test_either_a_recipe_or_a_run(words, capsys):
    with pytest.raises(SystemExit) as stop:
        parsed(*words)
    assert stop.value.code == 2 and "--resume" in capsys.readouterr().err


def test_a_run_goes_on_with_its_own_config(tmp_path):
    config = recipes.get("mnist5k_vgg11_deprune").with_settings(["train.epochs=3"])
    RunDir.at(str(tmp_path)).write("config.json", config.model_dump_json().encode())
    assert read_config(parsed("--resume", str(tmp_path))) == config
    with pytest.raises(ConfigError, match="leave out --set"):
        read_config(parsed("--resume", str(tmp_path), "--set", "train.epochs=4"))


def test_a_run_that_has_ended_is_not_trained_again(tmp_path):
    """Without a cluster and without images: nothing is started."""
    done = train_local(squeezed_config(), str(tmp_path / "run"))
    config = squeezed_config().with_settings(["data.name=parquet:/nowhere"])
    run = train(config, done.run_dir)
    assert run.summary == done and run.folder.location == done.run_dir


def test_monitors_are_named_by_the_command(tmp_path):
    config = read_config(parsed("--recipe", "mnist5k_vgg11_deprune", "--monitor", "csv", "mine.py:Best"))
    assert [getattr(one, "target", one) for one in config.monitors] == ["csv", "mine.py:Best"]
    RunDir.at(str(tmp_path)).write("config.json", config.model_dump_json().encode())
    assert read_config(parsed("--resume", str(tmp_path))).monitors == config.monitors
    assert read_config(parsed("--resume", str(tmp_path), "--monitor", "tensorboard")).monitors == ("tensorboard",)
    with pytest.raises(ConfigError, match="--monitor: monitors: no monitor is called 'tensorbord'. Nearest"):
        read_config(parsed("--recipe", "mnist5k_vgg11_deprune", "--monitor", "tensorbord"))


def test_a_search_takes_no_monitors():
    from raysplit.config.search import SearchConfig
    from tests.search.searches import PLATFORM

    recipe = squeezed_config().replaced(monitors=["csv"])
    with pytest.raises(ValueError, match="monitors are told of a run, and Tune's own loggers of the trials"):
        SearchConfig(recipe=recipe, space="tune_spaces.cut_and_level", **PLATFORM)
