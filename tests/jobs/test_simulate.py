"""The job that trains virtual devices: its picture, its JSON, --resume, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from raysplit.folders.reader import read_run
from raysplit.folders.run_dir import RunDir
from raysplit.train.local import train_local
from tests.train.many import many_config

TINY = ["data.name=digits", "data.train_rows=100", "train.threads=1", "train.epochs=2", "model.args.width=0.125"]


def test_a_simulation_ends_with_a_picture(run_job, tmp_path):
    setting = [
        *TINY,
        f"ray.storage={tmp_path}",
        "devices.links={lte: 1, wifi: 1}",
        "devices.availability.stragglers=0.5",
    ]
    words = ["--recipe", "mnist5k_vgg11_uncompressed", "--devices", 20, "--per-round", 5, "--set", *setting]
    done = run_job("simulate", *words)
    row = json.loads(done.out.splitlines()[-1])
    assert done.code == 0 and row["virtual_hours"] > 0
    run = read_run(row["run_dir"])
    assert run.config.devices.kind == "virtual" and run.config.devices.optimizer == "reset"
    assert 5 <= len(run.devices) <= 10 and Path(row["picture"]).read_bytes().startswith(b"\x89PNG")
    again = json.loads(run_job("simulate", "--resume", row["run_dir"]).out.splitlines()[-1])
    assert again["accuracy"] == row["accuracy"]


def test_a_dry_run_of_more_devices_than_images(run_job):
    words = ["--recipe", "mnist5k_vgg11_uncompressed", "--devices", 1000, "--dry-run", "--set", *TINY]
    done = run_job("simulate", *words)
    assert done.code == 0 and "1000, splitfed_v2, shards iid, 200 in each round" in done.out


def test_what_it_refuses(fail_job, tmp_path):
    config = many_config("merged", count=2, epochs=1)
    train_local(config, str(tmp_path))
    assert RunDir.at(str(tmp_path)).summary() is not None
    assert "this run has real devices; continue it with" in fail_job("simulate", "--resume", tmp_path)
    assert "leave out --devices" in fail_job("simulate", "--resume", tmp_path, "--devices", 3)
    words = ["--recipe", "mnist5k_vgg11_uncompressed", "--devices", 3, "--per-round", 5]
    assert "per_round=5 is more than count=3; lower it" in fail_job("simulate", *words)
    words = ["--recipe", "mnist5k_vgg11_uncompressed", "--devices", 3, "--per-round", 2, "--set", *TINY]
    assert "devices.machines: 'pi5' is neither a machine nor a file" in fail_job(
        "simulate", *words, "devices.machines={pi5: 1}"
    )
