"""Any finished run goes online: its network is loaded, answers as recorded, and is served."""

from __future__ import annotations

import pytest
import torch

from raysplit.data import load
from raysplit.device.halves import DeviceHalves
from raysplit.errors import BundleError, ConfigError
from raysplit.family import load_family, load_run
from raysplit.folders.run_dir import RunDir
from raysplit.report import write_report
from raysplit.serving.args import Limits
from raysplit.serving.split.server_halves import ServerHalves
from raysplit.train.local import train_local
from raysplit.wire.split_api import level_to_header
from tests.train.recipes import plain_config
from tests.train.schedules import every_schedule

CONFIGS = every_schedule()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a function that trains a config once and returns the folder of its run."""
    done = {}

    def train(name):
        if name not in done:
            path = str(tmp_path_factory.mktemp("run"))
            train_local(CONFIGS[name], path)
            done[name] = path
        return done[name]

    return train


def test_each_mode_is_among_them(runs):
    modes = {RunDir.at(runs(name)).records()[-1].mode for name in CONFIGS}
    assert modes == {"joint", "alone", "frozen", "cached"}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_loaded_run_has_the_accuracy_of_its_record(runs, name):
    summary = RunDir.at(runs(name)).summary()
    network, images = load_run(runs(name)), load(CONFIGS[name].data, "test")
    batches = torch.arange(len(images.labels)).split(CONFIGS[name].train.batch_size)
    right = sum(int((network(images.images[rows]).argmax(1) == images.labels[rows]).sum()) for rows in batches)
    assert right / len(images.labels) == network.accuracy == summary.accuracy


@pytest.mark.parametrize("name", CONFIGS)
def test_a_served_run_answers_like_the_loaded_one(runs, name):
    family = load_family(runs(name))
    device, server = DeviceHalves(family), ServerHalves(family, Limits())
    images = load(CONFIGS[name].data, "test").images[:5]
    for entry in family.levels:
        network = load_run(runs(name), entry.level)
        message = device.encode(images, entry.level)
        assert message.to_bytes() == network.encode(images).to_bytes()
        answer = server.predict(message.to_bytes(), level_to_header(entry.level), family.id)
        assert torch.equal(answer.probabilities, network(images).softmax(1))


def test_reports_take_every_run_and_its_family(runs, tmp_path):
    folders = [runs(name) for name in CONFIGS]
    write_report(folders, str(tmp_path / "runs.html"))
    write_report([f"{folder}/family" for folder in folders], str(tmp_path / "families.html"))
    assert (tmp_path / "families.html").stat().st_size > 0


def test_a_run_that_is_resumed_after_its_end_has_the_same_family(runs):
    path = runs("freeze and cache, cached")
    weights = RunDir.at(path).read("family/levels/0.safetensors")
    RunDir.at(path).delete("family")
    train_local(CONFIGS["freeze and cache, cached"], path)
    assert RunDir.at(path).read("family/levels/0.safetensors") == weights


def test_a_run_without_a_family(tmp_path):
    def stop(epoch, step, steps, loss):
        raise KeyboardInterrupt

    config = plain_config()
    with pytest.raises(KeyboardInterrupt):
        train_local(config, str(tmp_path / "run"), stop)
    with pytest.raises(BundleError, match=rf"^run '{tmp_path}/run' has not ended; continue it with --resume"):
        load_run(str(tmp_path / "run"))
    train_local(config, str(tmp_path / "run"))
    RunDir.at(str(tmp_path / "run")).delete("family")
    with pytest.raises(BundleError, match=r"was trained before every run wrote its family: raysplit.write_family\("):
        load_run(str(tmp_path / "run"))


def test_a_network_in_memory_is_given_again(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(256, 10)
    )
    config = plain_config().replaced(model=net, cut="1")
    summary = train_local(config, str(tmp_path))
    assert load_run(str(tmp_path), config=config).accuracy == summary.accuracy
    with pytest.raises(ConfigError, match="object in memory"):
        load_run(str(tmp_path))
    with pytest.raises(ConfigError, match="the config is not that of family"):
        load_run(str(tmp_path), config=config.replaced(name="another"))
