"""Runs start from weights that exist: both halves, alone or together, resumed without the file."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from raysplit import read_run, train_local
from raysplit.config import DataConfig, Fixed, ModelConfig, SplitConfig, TrainConfig
from raysplit.errors import ConfigError, ModelError
from raysplit.folders.run_dir import RunDir
from raysplit.train.halves import build_device_half, build_halves, build_server_half
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop

MEAN, STD = (0.25, 0.5, 0.75), (0.5, 0.25, 0.125)


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(9)
    state = timm.create_model("test_resnet", num_classes=1000).state_dict()
    path = tmp_path / "test_resnet.safetensors"
    save_file(state, path, {"mean": str(list(MEAN)), "std": str(list(STD))})
    return path


def make_config(file, **train):
    random = torch.Generator().manual_seed(1)
    images = [(torch.rand(3, 32, 32, generator=random), index % 3) for index in range(60)]
    return SplitConfig(
        name="start",
        data=DataConfig(dataset=images),
        model=ModelConfig(name="timm:test_resnet", weights=str(file), normalize="auto"),
        cut="layer1",
        schedule=Fixed(level="all.b4/b4.zstd"),
        train=TrainConfig(**{"epochs": 2, "batch_size": 16, "lr": 0.01, **train}),
    )


def equal(one, two):
    return one.keys() == two.keys() and all(value.equal(two[key]) for key, value in one.items())


def test_halves_start_from_the_file_alone_or_together(file):
    config = make_config(file)
    both = build_halves(config, 3, (3, 32, 32))
    device, server = build_device_half(config, 3, (3, 32, 32)), build_server_half(config, 3, (3, 32, 32))
    assert equal(both.device.state_dict(), device.half.state_dict())
    assert equal(both.server.state_dict(), server.half.state_dict())
    torch.manual_seed(9)
    state = timm.create_model("test_resnet", num_classes=1000).state_dict()
    held = device.half.body.state_dict() | server.half.body.state_dict()
    assert held.keys() == state.keys() and held["fc.weight"].shape == (3, 96)
    assert all(value.equal(state[key]) for key, value in held.items() if not key.startswith("fc."))
    assert device.weights == server.weights and len(device.weights) == 64
    file.unlink()
    build_device_half(config, 3, (3, 32, 32), init_weights=False)  # bundles hold all values themselves


def test_a_resumed_run_does_not_need_the_file(file, tmp_path):
    config = make_config(file)
    whole = train_local(config, str(tmp_path / "whole"))
    assert (whole.mean, whole.std, whole.normalized_by) == (MEAN, STD, "weights")
    assert len(whole.weights) == 64

    class Stop(Exception):
        pass

    def stop(epoch, step, steps, loss):
        if epoch == 1:
            raise Stop

    with pytest.raises(Stop):
        train_local(config, str(tmp_path / "stopped"), stop)
    content = file.read_bytes()
    file.write_bytes(content[:-4] + b"\0\0\0\0")
    with pytest.raises(ConfigError, match="is no longer the file that this run started from"):
        train_local(config, str(tmp_path / "stopped"))
    file.unlink()
    resumed = train_local(config, str(tmp_path / "stopped"))
    same = {"accuracy", "bytes_up", "bytes_down", "mean", "std", "normalized_by", "weights", "val_accuracy"}
    assert resumed.model_dump(include=same) == whole.model_dump(include=same)
    for half in ("device", "server"):
        one, two = ((tmp_path / name / f"{half}.safetensors").read_bytes() for name in ("whole", "stopped"))
        assert one == two
    assert read_run(str(tmp_path / "stopped")).summary.weights == whole.weights
    assert RunDir.at(str(tmp_path / "stopped")).config().model.weights == str(file)


def test_data_normalize_unless_the_weights_are_asked(file):
    config = make_config(file)
    plain = config.replaced(model=config.model.replaced(normalize="data"))
    facts = LocalDevice(plain).describe().result()
    assert facts.normalized_by == "data" and facts.mean != MEAN


def test_a_device_with_another_file_is_found(file, tmp_path):
    config = make_config(file)
    other = tmp_path / "other.safetensors"
    save_file({key: value + 1 for key, value in timm.create_model("test_resnet").state_dict().items()}, other)
    device = LocalDevice(make_config(other))
    with pytest.raises(ConfigError, match="the device starts from other weights than the server"):
        Loop(config, device)


def test_a_file_of_another_network_is_refused_by_a_run(file):
    config = make_config(file)
    wrong = config.replaced(model=config.model.replaced(name="timm:resnet18"))
    with pytest.raises(ModelError, match="does not fit timm:resnet18"):
        train_local(wrong, str(file.parent / "run"))
    assert not (file.parent / "run").exists()


@pytest.mark.parametrize(
    ("augment", "passes"), [("none", 1), pytest.param("crop", 2, marks=pytest.mark.slow), ("crop_flip", 2)]
)
def test_a_frozen_device_half_rests_and_nothing_comes_down(file, tmp_path, augment, passes):
    plain = make_config(file)
    train, data = plain.train.replaced(device_half="frozen"), plain.data.replaced(augment=augment)
    config = plain.replaced(bottleneck=None, data=data, train=train)
    before = build_device_half(config, 3, (3, 32, 32)).half.state_dict()
    summary = train_local(config, str(tmp_path / "run"))
    assert equal(load_file(tmp_path / "run" / "device.safetensors"), before)
    assert not equal(
        load_file(tmp_path / "run" / "server.safetensors"), build_server_half(config, 3, (3, 32, 32)).half.state_dict()
    )
    epochs = read_run(str(tmp_path / "run")).epochs
    assert summary.bytes_down == 0 and sum(epoch.bytes_up > 0 for epoch in epochs) == passes
