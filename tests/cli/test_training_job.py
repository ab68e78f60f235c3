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
