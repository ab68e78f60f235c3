"""Runs of many devices go online and are exported like any other."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load as read_safetensors

from raysplit.config import ModelConfig
from raysplit.device.halves import DeviceHalves
from raysplit.family import load_family, load_run
from raysplit.family.export import export
from raysplit.folders.run_dir import RunDir
from raysplit.models import build
from raysplit.report import write_report
from raysplit.serving.args import Limits
from raysplit.serving.split.server_halves import ServerHalves
from raysplit.train.local import train_local
from raysplit.wire.split_api import level_to_header
from tests.family.test_network import accuracy_of
from tests.train.many import many_config

LOCAL = "merged, batch norm local"
RUNS = {
    "fedavg": {"mode": "fedavg"},
    "fedavg, batch norm local": {"mode": "fedavg", "batch_norm": "local"},
    "relay": {"mode": "relay"},
    "splitfed_v1": {"mode": "splitfed_v1", "per_round": 2},
    LOCAL: {"mode": "merged", "batch_norm": "local"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of each run, by its name."""
    folders = {}
    for name, devices in RUNS.items():
        config = many_config(**devices).replaced(
            model=ModelConfig(name="vgg5", args={"width": 0.125}), cut="features.3"
        )
        folders[name] = str(tmp_path_factory.mktemp("run"))
        train_local(config, folders[name])
    return folders


@pytest.mark.parametrize("name", [name for name in RUNS if "local" not in name])
def test_the_loaded_network_has_the_accuracy_of_all_devices(runs, name):
    network = load_run(runs[name])
    assert accuracy_of(network) == network.accuracy == RunDir.at(runs[name]).summary().accuracy


@pytest.mark.parametrize("name", RUNS)
def test_it_is_served_and_exported_as_it_is_loaded(runs, name, tmp_path):
    family, network = load_family(runs[name]), load_run(runs[name])
    images = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    message = DeviceHalves(family).encode(images, network.level)
    answer = ServerHalves(family, Limits()).predict(message.to_bytes(), level_to_header(network.level), family.id)
    assert torch.equal(answer.probabilities, network(images).softmax(1))
    export(runs[name], "whole", str(tmp_path / "whole.safetensors"))
    whole = build(network.config.model, 10, (1, 8, 8))
    whole.load_state_dict(read_safetensors((tmp_path / "whole.safetensors").read_bytes()))
    halves = network.device_half.state_dict() | network.server_half.state_dict()
    found = {tensor.sum().item() for tensor in whole.state_dict().values()}
    assert found == {tensor.sum().item() for tensor in halves.values()}


def test_with_local_statistics_it_has_those_of_the_first_device(runs):
    """The accuracy on record is that of the devices, each with its own."""
    network, record = load_run(runs[LOCAL]), RunDir.at(runs[LOCAL])
    own = record.read_weights("device.safetensors")
    assert network.accuracy == record.summary().accuracy
    for name, tensor in network.device_half.state_dict().items():
        assert torch.equal(tensor, own[name])


def test_a_report_takes_all_of_them(runs, tmp_path):
    page = tmp_path / "report.html"
    write_report(list(runs.values()), str(page))
    assert page.read_text().count("<h4>Devices</h4>") == len(RUNS)
