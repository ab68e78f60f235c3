"""The same loop through Ray: actors, Ray Train, lost devices, clusters without room."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import ray
import torch

from raysplit.config import ModelConfig
from raysplit.errors import ClusterError, DataError, DivergenceError
from raysplit.folders.run_dir import RunDir
from raysplit.models import build
from raysplit.models.checkpoint_file import hash_file
from raysplit.train.local import train_local
from raysplit.train.loop import Loop
from raysplit.train.nodes import name_node
from raysplit.train.ray_device import (
    DeviceActor,
    device_request,
    server_request,
    start_ray_devices,
    wait_for_resources,
)
from raysplit.train.trainer import SplitTrainer
from raysplit.utils.user_code import load_function
from tests.train.test_extensions import OWN
from tests.train.test_loop import assert_same, merged, unsplit

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("shared_ray")]

# A model that takes its process down once: at the training pass of the given number, in the given half.
MORTAL = """
import os
import torch
from torch import nn

class Mortal(nn.Module):
    def __init__(self, marker, at):
        super().__init__()
        self.marker, self.at, self.calls = marker, at, 0
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        self.calls += self.training
        if self.training and self.calls == self.at and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            os._exit(1)
        return x * self.scale

def build(classes, shape, folder, near, far):
    open(f"{folder}/niceness_{os.getpriority(os.PRIO_PROCESS, 0)}", "w").close()
    flat = shape[0] * shape[1] * shape[2]
    first, last = Mortal(folder + "/near", near), Mortal(folder + "/far", far)
    return nn.Sequential(nn.Flatten(), first, nn.Linear(flat, 16), nn.ReLU(), last, nn.Linear(16, classes))
"""

RECIPE = """
from torch import nn

class Noise:
    def __len__(self):
        return 100

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randint(256, (1, 8, 8), generator=generator, dtype=torch.uint8), index % 10

def parts(config):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
    return config.replaced(schedule=Loosen(), codec=Half, model=net, data=Noise())
"""


@pytest.fixture
def on_ray(plain, tmp_path):
    return plain.replaced(
        train=plain.train.replaced(threads=1), ray=plain.ray.replaced(storage=str(tmp_path), start_timeout_s=30)
    )


@pytest.mark.parametrize(
    ("cut", "in_flight"),
    [
        pytest.param("features.0", 1, marks=pytest.mark.slow),
        ("features.7", 1),
        pytest.param("classifier.2", 1, marks=pytest.mark.slow),
        ("features.7", 2),
    ],
)
def test_split_through_an_actor_is_unsplit_bit_for_bit(on_ray, cut, in_flight):
    config = on_ray.replaced(cut=cut, train=on_ray.train.replaced(in_flight=in_flight))
    (device,) = start_ray_devices(config)
    loop = Loop(config, device)
    list(loop.epochs())
    assert_same(merged(loop), unsplit(config))
    device.close()


@pytest.mark.slow  # the next test has Ray's result too, tests/jobs/test_train_split.py a run with a bottleneck
def test_fit_gives_rays_result_and_the_weights_of_a_local_run(on_ray, squeezed, tmp_path):
    config = squeezed.replaced(train=squeezed.train.replaced(threads=1), ray=on_ray.ray)
    result = SplitTrainer(config).fit()
    assert isinstance(result, ray.train.Result)
    assert result.metrics["recipe"] == config.name and 0 <= result.metrics["accuracy"] <= 1
    assert_like_a_local_run(result, config, config, tmp_path / "local")


def assert_like_a_local_run(result, config, undisturbed, folder):
    """The record, the metrics and the weights are those of a run without Ray."""
    place = RunDir.at(result.path)
    assert place.config() == config
    assert [row.epoch for row in place.records()] == list(range(config.train.epochs))
    node = name_node(ray.get_runtime_context().get_node_id())
    assert {(row.node_device, row.node_server) for row in place.records()} == {(node, node)}
    assert place.summary().bytes_up == result.metrics["bytes_up"]
    local = train_local(undisturbed, run_dir=str(folder))
    for half in ("device", "server"):
        assert place.read(f"{half}.safetensors") == RunDir.at(local.run_dir).read(f"{half}.safetensors")
    timeless = ("recipe", "accuracy", "bytes_up", "bytes_down", "bytes_evaluation", "times_less", "val_accuracy")
    assert all(getattr(local, key) == result.metrics[key] for key in timeless)


@pytest.mark.slow  # tests/train/test_frozen_device.py does this in one process
def test_frozen_parts_of_weights_that_exist_rest_on_ray_as_in_one_process(on_ray, tmp_path):
    file = tmp_path / "vgg11.pth"
    torch.save(build(on_ray.model, 10, (1, 8, 8)).state_dict(), file)
    config = on_ray.replaced(
        data=on_ray.data.replaced(augment="none"),
        model=on_ray.model.replaced(weights=str(file)),
        train=on_ray.train.replaced(epochs=2, device_half="frozen", freeze=("classifier.1.*",)),
    )
    place = RunDir.at(SplitTrainer(config).fit().path)
    local = RunDir.at(train_local(config, run_dir=str(tmp_path / "local")).run_dir)
    for half in ("device", "server"):
        assert place.read(f"{half}.safetensors") == local.read(f"{half}.safetensors")
    assert [(row.mode, row.bytes_down, row.bytes_up > 0) for row in place.records()] == [
        ("frozen", 0, True),
        ("cached", 0, False),
    ]
    assert place.summary().weights == local.summary().weights == hash_file(file)


def test_lost_processes_change_no_weight(on_ray, tmp_path):
    """The device actor dies in epoch 2 and is replaced, the Train worker in epoch 3: it replays from a checkpoint."""
    (tmp_path / "mortal.py").write_text(MORTAL)

    def config(near, far):
        args = {"folder": str(tmp_path), "near": near, "far": far}
        return on_ray.replaced(
            model=ModelConfig(name=f"{tmp_path}/mortal.py:build", args=args),
            cut="3",
            train=on_ray.train.replaced(epochs=4),
        )

    # Of three steps an epoch, the worker takes the first of epoch 2 twice: its ninth is in epoch 3.
    result = SplitTrainer(config(near=5, far=9)).fit()
    assert isinstance(result, ray.train.Result)
    assert (tmp_path / "near").exists() and (tmp_path / "far").exists()
    own = os.getpriority(os.PRIO_PROCESS, 0)  # workers must not stand back behind every other process of their machine
    assert [path.name for path in tmp_path.glob("niceness_*")] == [f"niceness_{own}"]
    assert_like_a_local_run(result, config(near=5, far=9), config(-1, -1), tmp_path / "undisturbed")


def test_a_users_fault_comes_back_as_itself_and_is_not_tried_again(on_ray):
    config = on_ray.replaced(
        schedule={"kind": "fixed", "level": "all.b4/b4"}, train=on_ray.train.replaced(lr=1e30, epochs=2)
    )
    with pytest.raises(DivergenceError, match=r"epoch 1/2, step 2/3: .*; begin again .* good checkpoint, before the"):
        SplitTrainer(config).fit()


def test_data_missing_on_the_device(on_ray):
    config = on_ray.replaced(data=on_ray.data.replaced(name="parquet:/nowhere/at/all"))
    with pytest.raises(DataError, match="/nowhere/at/all"):
        start_ray_devices(config)


def test_device_resource_is_asked_for_where_the_cluster_has_it(plain):
    assert device_request(plain.ray, {"CPU": 4.0, "device": 2.0}) == {"device": 1}
    assert device_request(plain.ray, {"CPU": 4.0, "device": 9.0}, count=4) == {"device": 4}
    assert device_request(plain.ray, {"CPU": 4.0}) == {}


def test_what_the_worker_asks_for(plain):
    assert server_request(plain, {"CPU": 4.0}) == {"CPU": 1}
    assert server_request(plain, {"CPU": 4.0, "server": 1.0, "GPU": 1.0}) == {"CPU": 1, "server": 1, "GPU": 1}
    on_cpu = plain.replaced(train=plain.train.replaced(device="cpu"))
    assert server_request(on_cpu, {"CPU": 4.0, "GPU": 1.0}) == {"CPU": 1}


def test_no_room_now(on_ray):
    settings = on_ray.ray.replaced(start_timeout_s=1)
    holder = ray.remote(num_cpus=0, resources={"device": 1})(_Holder).remote()
    ray.get(holder.ready.remote(), timeout=30)
    with pytest.raises(ClusterError, match=r"requests 1 CPU, 1 device; the cluster has .* 0 of 1 device free"):
        wait_for_resources(on_ray.replaced(ray=settings))
    with pytest.raises(
        ClusterError, match=r"not enough resources for the device actor \(waited 1 s\): it requests 1 device"
    ):
        start_ray_devices(on_ray.replaced(ray=settings))
    ray.kill(holder)


class Slow(DeviceActor):
    def __init__(self):
        time.sleep(30)


def test_a_slow_start_is_told_from_a_cluster_without_room(on_ray, monkeypatch):
    monkeypatch.setattr("raysplit.train.ray_device.DeviceActor", Slow)
    with pytest.raises(ClusterError, match="had its place, but did not start within 1 s: its node is slow or busy"):
        start_ray_devices(on_ray.replaced(ray=on_ray.ray.replaced(start_timeout_s=1)))


def test_no_room_ever_is_said_at_once(on_ray, monkeypatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 0.5, "memory": 1e9})
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 0.5})
    with pytest.raises(ClusterError, match=r"waited 0 s\): it requests 1 CPU; the cluster has 0.5 of 0.5 CPU free"):
        wait_for_resources(on_ray.replaced(ray=on_ray.ray.replaced(start_timeout_s=1000)))


def test_a_device_that_does_not_answer_is_named(on_ray):
    (device,) = start_ray_devices(on_ray.replaced(ray=on_ray.ray.replaced(call_timeout_s=30)))
    device._timeout = 0.0
    pending = device.evaluate("test", 0)
    with pytest.raises(ClusterError, match="device 0 did not answer within 0 s"):
        pending.result()
    device.close()


def test_json_of_metrics_is_plain(on_ray):
    summary = train_local(on_ray, run_dir=str(Path(on_ray.ray.storage) / "plain"))
    assert json.loads(summary.model_dump_json())["recipe"] == on_ray.name


class _Holder:
    def ready(self) -> int:
        return torch.get_num_threads()


@pytest.mark.slow  # tests/train/test_extensions.py has them in one process, tests/utils/test_ray_train.py sends them
def test_objects_of_the_users_reach_worker_and_device(on_ray, tmp_path):
    """A schedule, a codec, a network and data in memory, whose classes are in a file that no process can import."""
    (tmp_path / "own.py").write_text(OWN + RECIPE)
    plain = on_ray.with_settings(["train.epochs=2", "bottleneck={}", "cut=0"])
    config = load_function(f"{tmp_path}/own.py:parts")(plain)
    result = SplitTrainer(config).fit()
    summary = train_local(config, str(tmp_path / "local"))
    assert result.metrics["bytes_up"] == summary.bytes_up and result.metrics["level"] == "all·b8/b8"
    ours, theirs = RunDir.at(result.metrics["run_dir"]), RunDir.at(summary.run_dir)
    assert ours.read("device.safetensors") == theirs.read("device.safetensors")
    assert ours.read("server.safetensors") == theirs.read("server.safetensors")
