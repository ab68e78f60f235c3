"""Devices that die or are late: the run waits for them, goes on without them, or ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raysplit.compress.quantizing_codec import extract
from raysplit.config import SplitConfig
from raysplit.errors import ClusterError, ConfigError, DeviceLostError
from raysplit.train.local_device import LocalDevice, make_local_devices
from raysplit.train.loop import Loop
from raysplit.wire.message import parse
from tests.train.many import many_config
from tests.train.test_devices import MODES, assert_same, plainly


class Lost:
    """A call that is never answered."""

    def __init__(self, device: int, late: bool):
        self._error = DeviceLostError(f"device {device} {'is late' if late else 'has died'}", device, late)

    def result(self, timeout_s: float | None = None) -> Any:
        raise self._error


class Mortal:
    """A local device that is lost in call number `at` of a method, and does nothing from then on."""

    def __init__(self, config: SplitConfig, index: int, method: str, at: int = 1, late: bool = False):
        self._local, self._index, self._method, self._left, self._late = (
            LocalDevice(config, index), index, method, at, late
        )  # fmt: skip
        self.ready = True

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any) -> Any:
            self._left -= method == self._method
            if self._left <= 0 and (not self._late or not self.ready or method == self._method):
                self.ready = False
                return Lost(self._index, self._late)
            return getattr(self._local, method)(*args)

        return call

    def come_back(self) -> None:
        self.ready, self._left = True, 1 << 20

    def is_ready(self) -> bool:
        return self.ready

    def close(self) -> None:
        self.ready = False


def start(config: SplitConfig, method: str, at: int = 1, late: bool = False) -> tuple[Loop, Mortal, list[int]]:
    """Return a loop whose device 1 is lost, that device, and the numbers of the devices that were replaced."""
    mortal, replaced = Mortal(config, 1, method, at, late), []
    devices = [mortal if index == 1 else LocalDevice(config, index) for index in range(config.devices.count)]

    def replace_device(index: int) -> LocalDevice:
        replaced.append(index)
        return LocalDevice(config, index)

    return Loop(config, devices, replace_device=replace_device), mortal, replaced


def weights(loop: Loop) -> dict[str, Any]:
    return {f"{side}.{name}": tensor for side, half in loop.weights().items() for name, tensor in plainly(half).items()}


def undisturbed(config: SplitConfig) -> Loop:
    loop = Loop(config, make_local_devices(config))
    list(loop.epochs())
    return loop


@pytest.mark.parametrize(
    ("mode", "method", "at"),
    [
        *((mode, "train_alone" if mode == "fedavg" else "exchange", 3) for mode in MODES),
        *(
            ("splitfed_v2", method, 2)
            for method in ("begin_epoch", "forward", "backward", "weights", "adopt", "evaluate")
        ),
        ("merged", "state", 2),
        ("splitfed_v1", "evaluate", 9),
    ],
)
def test_a_run_that_waits_ends_with_the_weights_of_an_undisturbed_one(mode, method, at, cut_back=None):
    config = many_config(mode).replaced(cut_back=cut_back)
    known = undisturbed(config)
    loop, _, replaced = start(config, method, at)
    rows = []
    for row in loop.epochs():
        rows.append(row)
        loop.state()
    assert replaced == [1]
    assert_same(weights(loop), weights(known))
    assert [row.bytes for row in rows] == [row.bytes for row in known.records]
    assert len(loop.device_records) == 3 * len(rows)


@pytest.mark.parametrize(("mode", "method", "at"), [("merged", "answer", 3), ("splitfed_v2", "score", 2)])
def test_with_a_second_cut_too(mode, method, at):
    test_a_run_that_waits_ends_with_the_weights_of_an_undisturbed_one(mode, method, at, cut_back="7")


@pytest.mark.parametrize("mode", MODES)
def test_a_lost_device_has_no_part_in_the_round_wherever_it_was_lost(mode):
    """Lost before its first step or in the last one: the server half has nothing of it either way."""
    config = many_config(mode, missing="skip")
    alone = mode == "fedavg"
    step, check = ("train_alone", "evaluate_alone") if alone else ("exchange", "evaluate")
    found = []
    for method, at in (("begin_epoch", 1), (step, 1), (step, 2), ("weights", 1), (check, 1)):
        loop, _, replaced = start(config, method, at)
        first, second = loop.epochs()
        assert replaced == [1]
        found.append(weights(loop))
        assert first.reason.endswith("; without device 1") and "without" not in second.reason
        assert sorted((row.epoch.epoch, row.device) for row in loop.device_records) == [
            (0, 0), (0, 2), (1, 0), (1, 1), (1, 2)
        ]  # fmt: skip
    for other in found[1:]:
        assert_same(found[0], other)
    with pytest.raises(AssertionError):
        assert_same(found[0], weights(undisturbed(config)))


@pytest.mark.parametrize("mode", ["splitfed_v2", "merged", "fedavg"])
def test_a_device_that_was_lost_in_the_last_round_is_tested_once_it_is_back(mode):
    config = many_config(mode, missing="skip", epochs=1)
    loop, _, replaced = start(config, "train_alone" if mode == "fedavg" else "exchange", 2)
    (row,) = loop.epochs()
    assert replaced == [1] and row.reason.endswith("; without device 1") and not loop._fleet.members[1].away
    held = [extract(parse(member.device.weights().result())) for member in loop._fleet.members]
    assert torch.equal(held[0], held[1]), "it has the common weights"
    assert loop.test.evaluation >= undisturbed(config).test.evaluation, "of all test images"


def test_a_late_device_is_not_replaced_and_takes_part_again_once_it_answers():
    config = many_config("splitfed_v2", epochs=3, missing="skip", deadline_s=60)
    loop, late, replaced = start(config, "exchange", 2, late=True)
    epochs = loop.epochs()
    assert next(epochs).reason.endswith("; without device 1") and next(epochs).reason.endswith("; without device 1")
    late.come_back()
    assert "without" not in next(epochs).reason
    took = [sorted(row.device for row in loop.device_records if row.epoch.epoch == epoch) for epoch in range(3)]
    assert not replaced and took == [[0, 2], [0, 2], [0, 1, 2]]
    held = [extract(parse(member.device.weights().result())) for member in loop._fleet.members]
    assert torch.equal(held[0], held[1]) and torch.equal(held[0], held[2]), "it has the common weights again"


def test_a_run_that_does_not_wait_fails_with_the_devices_name():
    loop, _, replaced = start(many_config("merged", missing="fail"), "exchange", 2)
    with pytest.raises(DeviceLostError, match="device 1 has died"):
        list(loop.epochs())
    assert not replaced


def test_too_few_devices_end_the_run():
    loop, *_ = start(many_config("merged", missing="skip", minimum=3), "exchange", 2)
    with pytest.raises(ClusterError, match=r"2 of 3 devices are left, and devices.minimum=3; look at their nodes"):
        list(loop.epochs())


def test_a_device_that_dies_again_and_again_ends_the_run():
    config = many_config("splitfed_v2")
    devices = [Mortal(config, index, "exchange" if index == 1 else "none") for index in range(3)]
    loop = Loop(config, devices, replace_device=lambda index: Mortal(config, index, "exchange"))
    with pytest.raises(DeviceLostError, match="device 1 has died"):
        list(loop.epochs())


def test_the_only_device_is_replaced_too():
    config = many_config("splitfed_v2", count=1)
    devices = Mortal(config, 0, "exchange", 12)
    loop = Loop(config, devices, replace_device=lambda index: LocalDevice(config, index))
    list(loop.epochs())
    assert_same(weights(loop), weights(undisturbed(config)))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["devices.minimum=4"], "minimum=4 is more than count=3; lower it"),
        (
            ["devices.deadline_s=9"],
            "missing=wait waits for a late device, and deadline_s does not; set missing to skip",
        ),
        (["devices.deadline_s=0", "devices.missing=skip"], "deadline_s: Input should be greater than 0"),
    ],
)
def test_what_does_not_go_together(settings, text):
    with pytest.raises(ConfigError, match=text):
        many_config("merged").with_settings(settings)
