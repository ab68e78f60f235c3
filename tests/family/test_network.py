"""Any finished run goes online: its network is loaded, answers as recorded, and is served."""

from __future__ import annotations

import pytest
import torch

from raysplit.config import Level
from raysplit.data import load
from raysplit.device.halves import DeviceHalves
from raysplit.errors import BundleError, ConfigError
from raysplit.family import load_family, load_run, write_family
from raysplit.family.export import export
from raysplit.folders.run_dir import RunDir
from raysplit.report import write_report
from raysplit.schedules import Decision
from raysplit.serving.args import Limits, SplitArgs
from raysplit.serving.split import build
from raysplit.serving.split.server_halves import ServerHalves
from raysplit.train.local import train_local
from raysplit.wire.split_api import level_to_header
from tests.train.freezing import freezing_config
from tests.train.recipes import plain_config
from tests.train.schedules import every_schedule

CONFIGS = every_schedule()


def every_second(names, first):
    """Return all names; outside of the slow lane, every second one from the one at `first` on."""
    return [
        name if index % 2 == first else pytest.param(name, marks=pytest.mark.slow) for index, name in enumerate(names)
    ]


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


def accuracy_of(network):
    """Return the accuracy on the test images in batches, as a run measures it."""
    images = load(network.config.data, "test")
    batches = torch.arange(len(images.labels)).split(network.config.train.batch_size)
    right = sum(int((network(images.images[rows]).argmax(1) == images.labels[rows]).sum()) for rows in batches)
    return right / len(images.labels)


@pytest.mark.parametrize("name", every_second(CONFIGS, 1))
def test_a_loaded_run_has_the_accuracy_of_its_record(runs, name):
    network = load_run(runs(name))
    assert accuracy_of(network) == network.accuracy == RunDir.at(runs(name)).summary().accuracy


@pytest.mark.parametrize("name", CONFIGS)
def test_a_family_is_written_elsewhere_as_it_is(runs, tmp_path, name):
    assert load_family(write_family(runs(name), str(tmp_path / "family"))).id == load_family(runs(name)).id


@pytest.mark.parametrize("name", every_second(CONFIGS, 0))
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


class EndsLevels:
    """A user's own schedule, in memory: each epoch ends a level, in a mode of its own."""

    def __init__(self, *modes):
        self.modes = modes

    def levels(self):
        return tuple(Level(f"c{4 - index}.b4/b4") for index in range(len(self.modes)))

    def decide(self, context, history):
        index = len(history)
        return Decision(self.levels()[index], "in turn", mode=self.modes[index], ends_level=True)


@pytest.mark.parametrize(
    ("modes", "answering", "answered_by"),
    [
        (("local", "alone"), [1], "head"),
        (("alone", "alone"), [1], "head"),
        (("alone", "local"), [1], "server"),
        (("local", "alone", "local"), [0, 2], "server"),
    ],
)
def test_a_level_that_ends_alone_is_not_served_by_a_server_half(tmp_path, modes, answering, answered_by):
    config = freezing_config(len(modes)).replaced(schedule=EndsLevels(*modes))
    train_local(config, str(tmp_path))
    family, levels = load_family(str(tmp_path)), config.schedule.levels()
    assert [entry.level for entry in family.levels] == [str(levels[index]) for index in answering]
    assert family.manifest.answered_by == answered_by
    for entry in family.levels:
        assert accuracy_of(load_run(str(tmp_path), entry.level)) == entry.test_accuracy


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
    export(str(tmp_path), "whole", str(tmp_path / "whole.pt2"), config=config)
    images = load(config.data, "test").images[:5]
    program = torch.export.load(tmp_path / "whole.pt2").module()
    assert torch.allclose(program(images), load_run(str(tmp_path), config=config)(images), atol=1e-5)
    lost = rf"^the model of family '{tmp_path}/family' was an object in memory \(Sequential\), .* train it as path"
    for use in (load_run, lambda run: build(SplitArgs(family=run))):
        with pytest.raises(ConfigError, match=lost):
            use(str(tmp_path))
    with pytest.raises(ConfigError, match="the config is not that of family"):
        load_run(str(tmp_path), config=config.replaced(name="another"))
