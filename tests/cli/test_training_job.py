"""What training jobs share; running one to its end is in tests/jobs."""

from __future__ import annotations

import pytest

from raysplit import recipes
from raysplit.cli.training_job import arguments, chosen, trained
from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir


def parsed(*words: str):
    return arguments("A job.").parse_args(words)


def test_a_recipe_with_settings():
    config = chosen(parsed("--recipe", "mnist5k_vgg11_deprune", "--set", "train.epochs=3", "--set", "train.seed=7"))
    assert config == recipes.get("mnist5k_vgg11_deprune").with_settings(["train.epochs=3", "train.seed=7"])


@pytest.mark.parametrize("words", [(), ("--recipe", "mnist5k_vgg11_deprune", "--resume", "somewhere")])
def test_either_a_recipe_or_a_run(words, capsys):
    with pytest.raises(SystemExit) as stop:
        parsed(*words)
    assert stop.value.code == 2 and "--resume" in capsys.readouterr().err


def test_a_run_goes_on_with_its_own_config(tmp_path):
    config = recipes.get("mnist5k_vgg11_deprune").with_settings(["train.epochs=3"])
    RunDir.at(str(tmp_path)).write("config.json", config.model_dump_json().encode())
    assert chosen(parsed("--resume", str(tmp_path))) == config
    with pytest.raises(ConfigError, match="leave out --set"):
        chosen(parsed("--resume", str(tmp_path), "--set", "train.epochs=4"))


def test_a_run_that_has_ended_is_not_trained_again(tmp_path):
    """Without a cluster and without images: nothing is started."""
    RunDir.at(str(tmp_path)).write("summary.json", b'{"accuracy": 0.5}')
    config = recipes.get("mnist5k_vgg11_deprune").with_settings(["data.name=parquet:/nowhere"])
    assert trained(config, str(tmp_path)).summary() == {"accuracy": 0.5}
