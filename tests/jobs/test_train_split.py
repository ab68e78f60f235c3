"""The job as a user starts it: exit codes, one clear line, the JSON at the end, --resume, the dry run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raysplit.folders.run_dir import RunDir
from raysplit.train.local import train_local

ROOT = Path(__file__).parent.parent.parent
TINY = [
    "data.name=digits",
    "data.train_rows=100",
    "model.args.width=0.125",
    "train.threads=1",
]


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
def test_a_mistake_in_a_setting(fail_job, setting, text):
    assert text in fail_job("train_split", "--recipe", "mnist5k_vgg11_deprune", "--set", setting)


def test_a_mistake_in_the_recipe(fail_job):
    error = fail_job("train_split", "--recipe", "mnist5k_vgg11_depune")
    assert error.startswith("error: no recipe is called 'mnist5k_vgg11_depune'. Nearest: mnist5k_vgg11_deprune")


def test_resume_of_something_else(fail_job):
    assert "is not a run directory" in fail_job("train_split", "--resume", "/nowhere")
    assert "leave out --set" in fail_job("train_split", "--resume", "/nowhere", "--set", "train.epochs=3")


def test_dry_run_trains_nothing(run_job, tmp_path):
    settings = [*TINY, "train.epochs=2", f"ray.storage={tmp_path}"]
    done = run_job("train_split", "--recipe", "mnist5k_vgg11_deprune", "--dry-run", "--set", *settings)
    assert done.code == 0 and "traffic  " in done.out and "at most" in done.out
    assert not list(tmp_path.iterdir())


@pytest.mark.ray
def test_a_job_stopped_by_ctrl_c_resumes_to_the_same_weights_and_ends_with_its_json(run_job, shared_ray, tmp_path):
    command = [sys.executable, "jobs/train_split.py", "--recipe", "mnist5k_vgg11_deprune"]
    settings = [*TINY, "train.epochs=24", f"ray.storage={tmp_path}"]
    env = os.environ | {"RAY_ADDRESS": shared_ray}
    with subprocess.Popen(
        [*command, "--set", *settings], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True
    ) as stopped:
        # The second epoch's row is written after the first one's checkpoint.
        while not any(pq.read_metadata(file).num_rows >= 2 for file in tmp_path.glob("*/metrics.parquet")):
            assert stopped.poll() is None
            time.sleep(0.2)
        stopped.send_signal(signal.SIGINT)
        _, errors = stopped.communicate(timeout=100)
    (run_dir,) = tmp_path.iterdir()
    assert stopped.returncode == 130
    hint = f"interrupted; continue with --resume {run_dir}"
    # Above it are Ray's own actors, some of which print errors when they are stopped.
    assert errors.splitlines()[-1] == hint

    resumed = subprocess.run(
        [*command[:2], "--resume", str(run_dir)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    # The epochs that were left, as the worker reported them.
    epochs = [line for line in resumed.stdout.splitlines() if " epoch " in f" {line}" and "validation" in line]
    assert epochs and len(epochs) < 24 and "epoch 24/24" in epochs[-1]
    last = json.loads(resumed.stdout.splitlines()[-1])
    assert list(last) == ["recipe", "accuracy", "bytes_up", "bytes_down", "seconds", "run_dir"]
    assert last["run_dir"] == str(run_dir)
    whole = train_local(RunDir.at(str(run_dir)).config(), run_dir=str(tmp_path / "whole"))
    assert whole.accuracy == last["accuracy"] and whole.bytes_up == last["bytes_up"]
    for side in ("device", "server"):
        assert (tmp_path / "whole" / f"{side}.safetensors").read_bytes() == (
            run_dir / f"{side}.safetensors"
        ).read_bytes()

    # A finished run is not trained again: its summary is printed, and no cluster is started.
    again = run_job("train_split", "--resume", run_dir)
    assert again.code == 0 and json.loads(again.out.splitlines()[-1]) == last
