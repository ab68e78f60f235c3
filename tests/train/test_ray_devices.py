"""Several device actors: the weights and bytes of the same devices in one process."""

from __future__ import annotations

import csv
import io

import pytest

from raysplit.config import Fixed, SplitConfig
from raysplit.folders.run_dir import RunDir
from raysplit.train.local import train_local
from raysplit.train.local_device import make_local_devices
from raysplit.train.loop import Loop
from raysplit.train.ray_device import start_ray_devices
from raysplit.train.trainer import SplitTrainer
from tests.train.many import many_config
from tests.train.test_devices import MODES, assert_same, plainly

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("shared_ray")]


def on_ray(mode: str) -> SplitConfig:
    """Four devices on nodes of any kind, on one thread each."""
    config = many_config(mode, count=4)
    return config.replaced(
        train=config.train.replaced(threads=1),
        ray=config.ray.replaced(device_resource="elsewhere", start_timeout_s=300),
    )


def test_four_actors_train_to_the_weights_of_four_local_devices():
    """In each mode; the actors are built anew for each."""
    actors = start_ray_devices(on_ray(MODES[0]))
    for mode in MODES:
        config = on_ray(mode)
        for call in [device._call(device._actor.setup.remote(config, i)) for i, device in enumerate(actors)]:
            call.result()
        far, near = Loop(config, actors), Loop(config, make_local_devices(config))
        for row, known in zip(far.epochs(), near.epochs(), strict=True):
            assert row.bytes == known.bytes and row.train_loss == known.train_loss
        for side in ("device", "server"):
            assert_same(plainly(far.weights()[side]), plainly(near.weights()[side]))
        assert {record.device for record in far.device_records} == {0, 1, 2, 3}
    for device in actors:
        device.close()


def test_the_job_of_four_actors_leaves_the_record_of_a_local_run(tmp_path):
    config = on_ray("merged").replaced(schedule=Fixed(level="all.b8/b8.n30"), monitors=["csv"])
    config = config.replaced(ray=config.ray.replaced(storage=str(tmp_path)))
    job = RunDir.at(SplitTrainer(config).fit().path)
    local = RunDir.at(train_local(config, run_dir=str(tmp_path / "local")).run_dir)
    for half in ("device", "server"):
        assert job.read(f"{half}.safetensors") == local.read(f"{half}.safetensors")
    rows, known = (run.device_records() for run in (job, local))
    assert [(row.device, row.samples, row.epoch.bytes) for row in rows] == [
        (row.device, row.samples, row.epoch.bytes) for row in known
    ]
    assert len(rows) == 4 * config.train.epochs
    job_csv, local_csv = (list(csv.DictReader(io.StringIO(_text(run)))) for run in (job, local))
    assert [row["val_loss"] for row in job_csv] == [row["val_loss"] for row in local_csv]
    assert {row["level"] for row in job_csv} == {"all·b8/b8·n30"}


def _text(run: RunDir) -> str:
    return run.read("monitors/epochs.csv").decode()
