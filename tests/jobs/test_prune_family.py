"""The job as a user starts it: what it refuses, the dry run, the bundle, and the JSON at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from raysplit.family.bundle import load_family
from raysplit.train.local import train_local

ROOT = Path(__file__).parent.parent.parent
RECIPE = f"{ROOT}/tests/train/recipes.py:family_config"
LEVELS = ["all·b4/b4·zstd", "c4·b4/b4·zstd", "c2·b8/b8"]


def test_a_recipe_without_a_family(fail_job):
    assert fail_job("prune_family", "--recipe", "mnist5k_vgg11_deprune") == (
        "error: recipe mnist5k_vgg11_deprune has a deprune schedule, a family is trained by prune "
        "(for example --recipe mnist5k_vgg11_prune)\n"
    )


def test_dry_run_trains_nothing(run_job, tmp_path):
    done = run_job("prune_family", "--recipe", RECIPE, "--dry-run", "--set", f"ray.storage={tmp_path}")
    assert done.code == 0 and all(f"level    {level}: " in done.out for level in LEVELS)
    assert not list(tmp_path.iterdir())


@pytest.mark.ray
@pytest.mark.slow  # tests/family/test_bundle.py has a family without Ray, tests/train/test_trainer.py a run with it
@pytest.mark.usefixtures("shared_ray_for_jobs")
def test_the_family_of_a_job_is_that_of_a_run_without_ray(run_job, tmp_path):
    command = [sys.executable, "jobs/prune_family.py", "--recipe", RECIPE]
    settings = [f"ray.storage={tmp_path / 'runs'}", "train.threads=1"]
    done = subprocess.run(
        [*command, "--set", *settings], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert list(last) == ["recipe", "run_dir", "family", "levels"]
    assert last["run_dir"] == str(run_dir) and last["family"] == f"{run_dir}/family"
    family = load_family(last["family"])
    keys = ["level", "accuracy", "bytes_per_sample_up", "bytes_per_sample_down", "seconds"]
    assert [list(level) for level in last["levels"]] == [keys] * 3
    assert [level["level"] for level in last["levels"]] == LEVELS
    assert [level["accuracy"] for level in last["levels"]] == [level.test_accuracy for level in family.levels]

    train_local(family.config, run_dir=str(tmp_path / "local"))
    for level in family.levels:
        assert (run_dir / "family" / level.file).read_bytes() == (tmp_path / "local" / level.file).read_bytes()

    # A finished run is not trained again, and no cluster is started: its family is written to another folder.
    again = run_job("prune_family", "--resume", run_dir, "--out", tmp_path / "elsewhere")
    assert json.loads(again.out.splitlines()[-1]) == last | {"family": f"{tmp_path}/elsewhere"}
    assert load_family(f"{tmp_path}/elsewhere").id == family.id
