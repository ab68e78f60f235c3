"""Many devices: each mode against plain PyTorch, and one device in each mode against a run of one."""

from __future__ import annotations

import pytest
import torch

from raysplit.config import SplitConfig
from raysplit.torch_utils.checkpoint import unpack_state
from raysplit.train.local_device import LocalDevice, make_local_devices
from raysplit.train.loop import Loop
from tests.train.many import many_config, train_plainly

MODES = ("relay", "splitfed_v1", "splitfed_v2", "merged", "fedavg")


def train(config: SplitConfig) -> Loop:
    loop = Loop(config, make_local_devices(config))
    list(loop.epochs())
    return loop


def plainly(half: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a half's weights and statistics under the network's own names."""
    return {name.removeprefix("body."): tensor for name, tensor in half.items() if tensor.is_floating_point()}


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys() and left
    assert not [name for name in left if not torch.equal(left[name], right[name])]


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_its_published_algorithm_bit_for_bit(mode):
    config = many_config(mode)
    loop = train(config)
    sizes = [member.steps for member in loop._fleet.members]
    assert len(set(sizes)) > 1, "devices of unequal size show what an average weighs"
    server, fronts = train_plainly(config)
    assert_same(plainly(loop.weights()["server"]), plainly(server))
    for member, front in zip(loop._fleet.members, fronts, strict=True):
        assert_same(plainly(unpack_state(member.device.state().result())["half"]), plainly(front))


@pytest.mark.parametrize("in_flight", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_one_device_in_each_mode_is_a_plain_split_run(mode, in_flight):
    config = many_config(mode, count=1)
    config = config.replaced(train=config.train.replaced(in_flight=in_flight))
    plain = config.replaced(devices=config.devices.replaced(mode="splitfed_v2", shards="iid"))
    loop, known = train(config), Loop(plain, LocalDevice(plain))
    list(known.epochs())
    for side in ("device", "server"):
        assert_same(plainly(loop.weights()[side]), plainly(known.weights()[side]))
    if mode != "fedavg":
        assert [row.bytes for row in loop.records] == [row.bytes for row in known.records]
