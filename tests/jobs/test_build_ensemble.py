"""The job on a local Ray: built, killed, continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOB = ROOT / "jobs" / "build_ensemble.py"
RECIPE = """
from raysplit.config import *
FIT = {"epochs": 2, "batch_size": 32, "device": "cpu"}
def tiny():
    return EnsembleConfig(
        name="tiny",
        data=DataConfig(name="digits", train_rows=320),
        base=BaseConfig(
            model=ModelConfig(name="vit", args={"patch": 4, "width": 24, "depth": 1, "heads": 3}),
            train=ClassifierFit(**FIT),
        ),
        groups=GroupsConfig(n=2),
        prune=PruneConfig(keep=0.67, proxy=8),
        retrain=RetrainConfig(**FIT),
        fusion=FusionConfig(epochs=2, batch_size=32, device="cpu"),
    )
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "mine.py"
    path.write_text(RECIPE)
    return f"{path}:tiny"


def start(*args, **environment):
    """Start the job in a process of its own."""
    command = [sys.executable, str(JOB), *map(str, args)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "RAY_DEDUP_LOGS": "0"} | environment
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True
    )


@pytest.mark.ray
@pytest.mark.slow  # tests/ensemble/test_build.py stops a build in its process, tests/jobs/test_train_split.py a job
def test_a_killed_job_continues_and_trains_no_sub_model_again(recipe, tmp_path, shared_ray):
    place = tmp_path / "build"
    process = start("--recipe", recipe, "--out", place, "--set", "base.workers=1")
    first = place / "submodels/0/record.json"
    deadline = time.monotonic() + 180
    while not (first.exists() or (place / "submodels/1/record.json").exists()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = {path: path.stat().st_mtime_ns for path in place.glob("submodels/*/record.json")}
    assert done and not (place / "bundle").exists()
    resumed = start("--resume", place, RAY_ADDRESS=shared_ray)
    out, err = resumed.communicate(timeout=200)
    assert resumed.returncode == 0, err
    assert out.startswith(f"build: {place}\n")
    last = json.loads(out.strip().splitlines()[-1])
    assert last["recipe"] == "tiny" and last["n"] == 2 and len(last["submodels"]) == 2
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert (place / "report.html").exists() and Path(last["bundle"], "manifest.json").exists()
    whole = json.loads((place / "summary.json").read_text())
    assert list(last) == [key for key in whole if key not in ("confusion", "base_confusion")]


def test_a_dry_run_prints_the_plan_and_makes_nothing(run_job, recipe, tmp_path):
    done = run_job("build_ensemble", "--recipe", recipe, "--out", tmp_path / "build", "--dry-run")
    assert done.code == 0, done.err
    assert done.out.startswith("recipe   tiny\n") and "2 of 3" in done.out and not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--recipe", "mnist5k_vgg11_deprune"], "is for jobs/train_split.py"),
        (["--recipe", "mnist5k_vit_n"], "Nearest: mnist5k_vit_n3"),
        (["--resume", "/nowhere"], "is not a build's folder"),
        (["--recipe", "mnist5k_vit_n3", "--set", "groups.m=2"], "unknown key 'm'"),
        (["--recipe", "mnist5k_vit_n3", "--devices", "/nowhere.yaml"], "/nowhere.yaml"),
    ],
)
def test_mistakes_are_one_line(fail_job, args, message):
    assert message in fail_job("build_ensemble", *args)
