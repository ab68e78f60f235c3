"""Parts of a network that are not trained, and a learning rate for each half."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raysplit import recipe
from raysplit.config import BottleneckConfig, DataConfig, Fixed, LocalLoss, SplitConfig, TrainConfig
from raysplit.errors import ConfigError, DivergenceError
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop


def make_net():
    """Two blocks, cut between them at '2': parameters 0, 1 | 3, 4, 7."""
    torch.manual_seed(5)
    first = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*first, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def make_config(bottleneck=None, **train):
    random = torch.Generator().manual_seed(1)
    images = [(torch.rand(1, 8, 8, generator=random), index % 3) for index in range(40)]
    return SplitConfig(
        name="parts",
        data=DataConfig(dataset=images),
        model=make_net(),
        cut="2",
        bottleneck=bottleneck,
        schedule=Fixed(level="all.b8/b8"),
        train=TrainConfig(**{"epochs": 2, "batch_size": 8, "lr": 0.05, **train}),
    )


def train(config):
    loop = Loop(config, LocalDevice(config))
    list(loop.epochs())
    return loop


def halves(loop):
    """Return the network's own tensors, from both halves."""
    state = loop.weights()["device"] | loop.weights()["server"]
    return {key.removeprefix("body."): value for key, value in state.items() if key.startswith("body.")}


def changed(config):
    before, after = make_net().state_dict(), halves(train(config))
    return {key for key, value in after.items() if not value.equal(before[key])}


FIRST = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
SECOND = {"4.running_mean", "4.running_var", "4.num_batches_tracked"}
ALL = {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias", "4.weight", "4.bias", "7.weight", "7.bias"}
ALL |= FIRST | SECOND


@pytest.mark.parametrize(
    ("patterns", "rests"),
    [
        (["1.*"], {"1.weight", "1.bias"} | FIRST),
        (["4.*", "0.bias"], {"0.bias", "4.weight", "4.bias"} | SECOND),
        (["[01].*", "4.*"], {"0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"} | FIRST | SECOND),
        (["1.weight"], {"1.weight"}),  # statistics of a layer that is trained in part move
        (["*.bias"], {name for name in ALL if name.endswith("bias")}),
        (["[347].*"], {name for name in ALL if name[0] in "347"}),  # all of the server half
    ],
)
def test_frozen_parameters_rest_in_either_half(patterns, rests):
    assert changed(make_config(freeze=patterns)) == ALL - rests


def test_frozen_parameters_have_no_optimizer_state():
    loop = train(make_config(freeze=["0.*", "3.weight", "4.*"]))
    assert loop.state()["server"]["optimizer"]["state"].keys() == {1, 4, 5}
    side = loop._fleet.members[0].device._side
    assert side._optimizer.state()["state"].keys() == {2, 3}
    assert side._half.body.get_parameter("0.weight").grad is None


def test_a_resting_server_half_takes_what_a_device_with_its_own_loss_sends():
    """Nothing is trained from the server's loss, which has no gradient."""
    assert changed(make_config(freeze=["[347].*"], local_loss=LocalLoss(width=4, layers=1))) & {"3.weight"} == set()


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        (["9.weight"], "train.freeze: '9.weight' matches none of the network's 10 parameters. Nearest: 7.weight, "),
        (["0.*", "3.wieght"], "'3.wieght' matches none of the network's 10 parameters. Nearest: 3.weight"),
        (["4"], r"'4' matches none of the network's 10 parameters. Write '4\.\*' for all of 4"),
        (["*"], "leave no parameter to train; leave the last layers out of train.freeze"),
    ],
)
def test_patterns_that_cannot_be_meant(patterns, text):
    with pytest.raises(ConfigError, match=text):
        train(make_config(freeze=patterns))


@pytest.mark.parametrize(
    ("setting", "patterns"),
    [
        ("train.freeze=layer1.*", ("layer1.*",)),
        ("train.freeze=['*.bias', 'bn?.weight']", ("*.bias", "bn?.weight")),
        ("train.freeze=[0.*]", ("0.*",)),
        ("train.freeze=7.weight", ("7.weight",)),
    ],
)
def test_patterns_as_settings(setting, patterns):
    assert recipe("mnist5k_vgg11_deprune").with_settings([setting]).train.freeze == patterns


@pytest.mark.parametrize("value", ["*.bias", "[layer1.*, *.bias]"])
def test_patterns_that_yaml_takes_for_aliases(value):
    with pytest.raises(ConfigError, match=r"is not YAML: .*; put text that begins with \* in quotes"):
        recipe("mnist5k_vgg11_deprune").with_settings([f"train.freeze={value}"])


def test_a_device_half_that_is_frozen_by_names_is_told_of_the_cheaper_way(caplog):
    train(make_config(freeze=["[01].*"]))
    assert "set train.device_half=frozen, and none come down" in caplog.text


def test_a_rate_that_is_too_high_is_named_for_both_halves():
    with pytest.raises(DivergenceError, match=r"begin again with train.lr below 0.05 and train.device_lr below 1e\+30"):
        train(make_config(device_lr=1e30, lr_schedule="constant"))


@pytest.mark.parametrize("bottleneck", [None, BottleneckConfig()])
def test_each_half_has_its_learning_rate(bottleneck):
    same, equal = train(make_config(bottleneck)), train(make_config(bottleneck, device_lr=0.05))
    assert all(value.equal(halves(equal)[key]) for key, value in halves(same).items())
    slow = train(make_config(bottleneck, device_lr=1e-9, weight_decay=0.0))
    start = make_net().state_dict()
    moved = {key: float((value - start[key]).abs().max()) for key, value in halves(slow).items() if "weight" in key}
    assert moved["0.weight"] < 1e-6 < moved["3.weight"]
    rates = [(record.lr, record.lr_device) for record in slow.records]
    assert all(rate > 0 and own == pytest.approx(rate * 2e-8) for rate, own in rates)
    assert [record.lr_device for record in same.records] == [record.lr for record in same.records]


@pytest.mark.parametrize(
    ("optimizer", "needed"), [("muon", "convolutions or transformer blocks"), ("muon_sgd", "convolutions")]
)
def test_muon_needs_its_kind_of_weights(optimizer, needed):
    config = make_config(optimizer=optimizer).replaced(
        model=nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)), cut="2"
    )
    with pytest.raises(ConfigError, match=f"{optimizer}' is for networks with {needed}; set it to"):
        train(config)
