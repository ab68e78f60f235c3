"""The job as a user starts it: exit codes, one clear line, the JSON at the end, --resume, the dry run."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from raysplit.cli.command import command
from raysplit.folders.run_dir import RunDir
from raysplit.train.local import train_local

ROOT = Path(__file__).parent.parent.parent
TINY = [
    "data.name=digits",
    "data.train_rows=100",
    "model.args.width=0.125",
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
    done = job(
        "--recipe", "mnist5k_vgg11_deprune", "--dry-run", "--set", *TINY, "train.epochs=2", f"ray.storage={tmp_path}"
    )
    assert done.returncode == 0 and "traffic  " in done.stdout and "at most" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.ray
def test_a_job_stopped_by_ctrl_c_goes_on_to_the_same_weights_and_ends_with_its_json(tmp_path):
    command = [sys.executable, "jobs/train_split.py", "--recipe", "mnist5k_vgg11_deprune"]
    settings = [*TINY, "train.epochs=12", f"ray.storage={tmp_path}"]
    with subprocess.Popen([*command, "--set", *settings], cwd=ROOT, stderr=subprocess.PIPE, text=True) as stopped:
        while not list(tmp_path.glob("*/metrics.parquet")):
            assert stopped.poll() is None
            time.sleep(0.2)
        stopped.send_signal(signal.SIGINT)
        _, errors = stopped.communicate(timeout=100)
    (run_dir,) = tmp_path.iterdir()
    assert stopped.returncode == 130
    hint = f"interrupted; the run goes on from its last checkpoint with --resume {run_dir}"
    # What stands above it are Ray's own actors, some of them loud when they are stopped.
    assert errors.splitlines()[-1] == hint

    resumed = job("--resume", str(run_dir))
    assert resumed.returncode == 0, resumed.stderr
    last = json.loads(resumed.stdout.splitlines()[-1])
    assert list(last) == ["recipe", "accuracy", "bytes_up", "bytes_down", "seconds", "run_dir"]
    assert last["run_dir"] == str(run_dir)
    torch.set_num_threads(1)
    whole = train_local(RunDir.at(str(run_dir)).config(), run_dir=str(tmp_path / "whole"))
    assert whole["accuracy"] == last["accuracy"] and whole["bytes_up"] == last["bytes_up"]
    for side in ("device", "server"):
        assert (tmp_path / "whole" / f"{side}.safetensors").read_bytes() == (
            run_dir / f"{side}.safetensors"
        ).read_bytes()

    # A finished run is not trained again: its summary is at hand, no cluster is started.
    assert json.loads(job("--resume", str(run_dir), timeout=30).stdout.splitlines()[-1]) == last
