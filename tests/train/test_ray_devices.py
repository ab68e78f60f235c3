"""Several device actors: the weights and bytes of the same devices in one process."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from raysplit.config import CheckpointConfig, Fixed, SplitConfig
from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir
from raysplit.train.local import train_local
from raysplit.train.local_device import make_local_devices
from raysplit.train.loop import Loop
from raysplit.train.own_states import StateReference
from raysplit.train.ray_device import RayDevice, start_ray_devices
from raysplit.train.trainer import SplitTrainer
from tests.train.many import many_config
from tests.train.test_devices import MODES, assert_same, plainly
from tests.train.test_recovery import start, undisturbed, weights

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("shared_ray")]


def on_ray(mode: str, **devices: str) -> SplitConfig:
    """Four devices on nodes of any kind, on one thread each."""
    config = many_config(mode, count=4, **devices)
    return config.replaced(
        train=config.train.replaced(threads=1),
        ray=config.ray.replaced(device_resource="elsewhere", start_timeout_s=300),
    )


def set_up(actors: list[RayDevice], config: SplitConfig) -> None:
    """Build the halves anew, which takes less time than other actors."""
    for call in [actor._call(actor._actor.setup.remote(config, index)) for index, actor in enumerate(actors)]:
        call.result()


def test_four_actors_train_to_the_weights_of_four_local_devices():
    """In each mode, and with the last layers and the labels on the devices; the actors are built anew for each."""
    actors = start_ray_devices(on_ray(MODES[0]))
    for config in (*map(on_ray, MODES), on_ray("merged").replaced(cut_back="7")):
        set_up(actors, config)
        far, near = Loop(config, actors), Loop(config, make_local_devices(config))
        for row, known in zip(far.epochs(), near.epochs(), strict=True):
            assert row.bytes == known.bytes and row.train_loss == known.train_loss
        for side in ("device", "server"):
            assert_same(plainly(far.weights()[side]), plainly(near.weights()[side]))
        assert {record.device for record in far.device_records} == {0, 1, 2, 3}
    for device in actors:
        device.close()


def lose_one(actors: list[RayDevice], config: SplitConfig) -> Loop:
    """Train a run whose second actor is killed in the first round; the one in its place is there for the next."""
    first = actors[1]

    def kill(epoch: int, step: int, *_: float) -> None:
        if (epoch, step) == (0, 3) and actors[1] is first:
            first.close()

    def another(index: int) -> RayDevice:
        actors[index] = RayDevice(config, index)
        return actors[index]

    loop = Loop(config, list(actors), kill, replace_device=another)
    for row in loop.epochs():
        if row.epoch == 0:
            actors[1].ready()
    assert actors[1] is not first
    return loop


def test_a_killed_actor_is_waited_for_or_left_out_of_the_round():
    """The weights are those of a run that lost none, or of one in this process that lost the same device."""
    actors = start_ray_devices(on_ray("splitfed_v2"))
    for missing in ("wait", "skip"):
        config = on_ray("splitfed_v2", missing=missing)
        set_up(actors, config)
        far = lose_one(actors, config)
        near = start(config, "exchange")[0]
        list(near.epochs())
        if missing == "wait":
            assert_same(weights(near), weights(undisturbed(config)))
        assert [row.reason for row in far.records] == [row.reason for row in near.records]
        assert [row.reason.endswith("without device 1") for row in far.records] == [missing == "skip", False]
        assert_same(weights(far), weights(near))
    for actor in actors:
        actor.close()


def test_actors_go_on_from_states_on_their_own_disks(tmp_path):
    config = on_ray("merged").replaced(cut_back="7", checkpoint=CheckpointConfig(device="local", folder=str(tmp_path)))
    actors = start_ray_devices(config)
    loop = Loop(config, actors)
    next(epochs := loop.epochs())
    state = loop.state()
    epochs.close()
    set_up(actors, config)
    far, near = Loop(config, actors, resumed=True), Loop(config, make_local_devices(config))
    far.restore(state)
    list(far.epochs())
    list(near.epochs())
    assert far.test == near.test
    assert_same(plainly(far.weights()["server"]), plainly(near.weights()["server"]))
    files = [Path(StateReference.parse(data).path) for data in (state["device"], *state["devices"])]
    files[2].unlink()
    with pytest.raises(ConfigError, match="device 2 on .* lacks its state"):
        far.restore(state)
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
