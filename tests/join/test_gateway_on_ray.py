"""A gateway on Ray Serve, devices that are processes without Ray, and a job on the same cluster."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysplit.errors import ClusterError
from raysplit.folders.run_dir import RunDir
from raysplit.serving.args import GatewayArgs
from raysplit.train.gateway_devices import GatewayRun
from raysplit.train.local import train_local
from raysplit.train.trainer import SplitTrainer
from raysplit.wire.gateway_api import APPLICATION, hash_key
from tests.join.runs import joined_config, near
from tests.serving.gateway.fakes import make_key

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parent.parent.parent
DEVICE = """
import sys

class NoRay:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "ray":
            raise ImportError("a device outside the cluster has no Ray")

sys.meta_path.insert(0, NoRay())
from raysplit.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def url(shared_ray, tmp_path) -> Iterator[str]:
    """The URL of a gateway that knows two devices."""
    from ray import serve

    from raysplit.serving.gateway import build

    keys = tmp_path / "keys.txt"
    keys.write_text("".join(f"{name} {hash_key(make_key(name))}\n" for name in ("attic", "kitchen")))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(GatewayArgs(keys=str(keys))), name=APPLICATION)
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def join(url: str, name: str, folder: Path) -> subprocess.Popen[str]:
    """Start a device as a process that cannot import Ray."""
    env = os.environ | {"KEY": make_key(name), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    states = ["--states", str(folder / name)]
    return subprocess.Popen(
        [sys.executable, "-c", DEVICE, "join", url, "--data", "digits", "--key-env", "KEY", "--name", name, *states],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def weights(run: str) -> list[bytes]:
    return [RunDir.at(run).read(f"{half}.safetensors") for half in ("device", "server")]


def test_a_job_with_joined_devices_one_of_which_is_killed_and_started_again(url, tmp_path):
    config = joined_config("merged", epochs=4)
    config = config.replaced(ray=config.ray.replaced(storage=str(tmp_path / "runs"), device_resource="elsewhere"))
    devices = [join(url, name, tmp_path) for name in ("kitchen", "attic")]

    def restart() -> None:
        """Kill a device in its second epoch, and start it again."""
        for line in devices[0].stdout:
            if "epoch 2" in line:
                devices[0].send_signal(signal.SIGKILL)
                devices.append(join(url, "kitchen", tmp_path))
                return

    killer = threading.Thread(target=restart)
    killer.start()
    job = SplitTrainer(config).fit()
    killer.join(10)
    known = train_local(near(config), run_dir=str(tmp_path / "local"))
    assert len(devices) == 3, "the device was killed"
    assert weights(job.path) == weights(known.run_dir)
    for device in devices[1:]:
        assert device.wait(20) == 0
        assert device.stdout.read().endswith("the run has ended\n")


def test_one_device_on_the_cluster_and_one_outside(url, tmp_path):
    config = joined_config("splitfed_v1", inside=1, data=["digits"])
    alone = config.replaced(devices=config.devices.replaced(join_timeout_s=0.1))
    with pytest.raises(ClusterError, match="1 device did not join within 0.1 s; none did"):
        GatewayRun(alone, "alone").claim()
    config = config.replaced(ray=config.ray.replaced(storage=str(tmp_path / "runs"), device_resource="elsewhere"))
    device = join(url, "attic", tmp_path)
    job = SplitTrainer(config).fit()
    assert weights(job.path) == weights(train_local(near(config), run_dir=str(tmp_path / "local")).run_dir)
    assert device.wait(20) == 0
