"""The job as a user starts it: exit codes, one clear line, the JSON at the end, --resume, the dry run."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from raysplit.command import command

ROOT = Path(__file__).parent.parent.parent
TINY = [
    "data.name=digits",
    "data.train_rows=100",
    "model.args.width=0.125",
    "train.epochs=2",
    "train.threads=1",
]


def job(*words: str, timeout: float = 200) -> subprocess.CompletedProcess:
    """Run the job from the repository's root."""
    command = [sys.executable, "jobs/train_split.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture
def fault(monkeypatch, capsys):
    """Run the job in this process, where it must fail; return its one line."""

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["train_split.py", *words])
        spec = importlib.util.spec_from_file_location("train_split", ROOT / "jobs" / "train_split.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert command(module.main) == 1
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.count("\n") == 1
        return line

    return run


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("train.epoch=3", "unknown key 'epoch' in train (setting train.epoch). Nearest: epochs"),
        ("train.epochs=zero", "train.epochs: Input should be a valid integer"),
        ("cut=features.77", "'features.77'"),
        ("model.name=vgg12", "'vgg12'"),
        ("data.name=mnist", "unknown data set 'mnist'"),
    ],
)
def test_a_mistake_in_a_setting(fault, setting, text):
    assert text in fault("--recipe", "mnist5k_vgg11_deprune", "--set", setting)


def test_resume_of_something_else(fault):
    assert "is not a run directory" in fault("--resume", "/nowhere")
    assert "leave out --set" in fault("--resume", "/nowhere", "--set", "train.epochs=3")


def test_a_mistake_is_one_line_and_exit_code_1():
    done = job("--recipe", "mnist5k_vgg11_depune")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: no recipe is called 'mnist5k_vgg11_depune'. Nearest: mnist5k_vgg11_deprune")
    assert done.stderr.count("\n") == 1


def test_dry_run_trains_nothing(tmp_path):
    done = job("--recipe", "mnist5k_vgg11_deprune", "--dry-run", "--set", *TINY, f"ray.storage={tmp_path}")
    assert done.returncode == 0 and "traffic  " in done.stdout and "at most" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.ray
def test_a_job_ends_with_its_json_and_a_second_one_finds_it_done(tmp_path):
    done = job("--recipe", "mnist5k_vgg11_deprune", "--set", *TINY, f"ray.storage={tmp_path}")
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert list(last) == ["recipe", "accuracy", "bytes_up", "bytes_down", "seconds", "run_dir"]
    assert Path(last["run_dir"]).parent == tmp_path and (Path(last["run_dir"]) / "summary.json").exists()
    again = job("--resume", last["run_dir"])
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.splitlines()[-1]) == last
