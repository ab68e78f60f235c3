"""The application of a family: from its bundle, and with others from the shipped config."""

from __future__ import annotations

import pytest
import yaml
from ray.serve import Application

from raysplit.config import DataConfig
from raysplit.data import load
from raysplit.device import DeviceClient
from raysplit.device.halves import DeviceHalves
from raysplit.family import load_family, load_run
from raysplit.serving.args import SplitArgs
from raysplit.serving.split import build
from raysplit.train.local import train_local
from tests.serving.running import CONFIGS, serve_run
from tests.serving.split.messages import make_client, post
from tests.train.freezing import freezing_config
from tests.train.recipes import squeezed_config
from tests.train.test_extensions import OWN


def test_an_application_is_built_from_a_bundle(family):
    assert isinstance(build(SplitArgs(family=family._bundle.location)), Application)


@pytest.fixture
def runs(tmp_path):
    """Return finished runs by name: one with a codec of the user's, whose file is gone, and one with a head."""
    own = tmp_path / "own.py"
    own.write_text(OWN)
    configs = {
        "deprune": squeezed_config().with_settings([f"codec={own}:Half", "train.precision=fp32"]),
        "cached": freezing_config(4),
    }
    folders = {name: train_local(config, str(tmp_path / name)).run_dir for name, config in configs.items()}
    own.unlink()
    return folders


@pytest.mark.ray
def test_the_shipped_config_serves_devices_beside_runs_of_other_schedules(family, runs, tmp_path):
    folder = tmp_path / "bundles" / "mnist5k_vgg11_prune"
    folder.parent.mkdir()
    folder.symlink_to(family._bundle.location)
    config = yaml.safe_load((CONFIGS / "split.yaml").read_text())
    [shipped] = config["applications"]
    config["applications"] += [_application(shipped, name, run) for name, run in runs.items()]
    (tmp_path / "several.yaml").write_text(yaml.safe_dump(config))
    images = load(DataConfig(name="digits"), "test").images[:3]
    served = {"": family} | {f"/{name}": load_family(run) for name, run in runs.items()}
    with serve_run(str(tmp_path / "several.yaml"), tmp_path) as run:
        for path, one in served.items():
            with DeviceClient(one, run.url + path, target_s=60) as client:
                answer = client.predict(images)
            sent = DeviceHalves(one).encode(images, answer.level).to_bytes()
            expected = post(make_client(one), one, sent, answer.level).json()["images"]
            assert [[entry.model_dump() for entry in image] for image in answer.images] == expected
            if path:
                best = load_run(runs[path[1:]])(images).argmax(1)
                assert [image[0].name for image in answer.images] == [one.manifest.classes[i] for i in best]


def _application(shipped, name, run):
    """Return a run's application, by the example of the shipped one, on a third of a CPU."""
    small = {"name": "Server", "ray_actor_options": {"num_cpus": 0.3}}
    args = shipped["args"] | {"family": run}
    return shipped | {"name": name, "route_prefix": f"/{name}", "args": args, "deployments": [small]}
