"""The device interface carries nothing that JSON and packed messages could not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from raysplit.config import SplitConfig
from raysplit.schedules.base import Decision
from raysplit.train.device import DeviceFacts, Finished, LocalScore, Split, Uplink
from raysplit.train.device_side import DeviceSide
from raysplit.train.local_device import make_local_devices
from raysplit.train.loop import Loop
from tests.train.freezing import freezing_config
from tests.train.recipes import squeezed_config
from tests.train.schedules import every_schedule


class FarSide:
    """The far end of a connection that carries a line of JSON and one blob each way, and nothing else."""

    def __init__(self, config: str, index: int):
        self._side = DeviceSide(SplitConfig.model_validate_json(config), index)

    def answer(self, line: str, blob: bytes) -> tuple[str, bytes]:
        request = json.loads(line)
        method, given = request["method"], request["given"]
        if method == "describe":
            return TypeAdapter(DeviceFacts).dump_json(self._side.describe()).decode(), b""
        if method == "begin_epoch":
            self._side.begin_epoch(given["epoch"], TypeAdapter(Decision).validate_python(given["decision"]))
            return "null", b""
        if method in ("forward", "exchange", "evaluate"):
            arguments = [blob] if method == "exchange" else list(given.values())
            uplink = getattr(self._side, method)(*arguments)
            return str(len(uplink.activation)), uplink.activation + uplink.labels
        if method in ("train_alone", "evaluate_alone"):
            score = getattr(self._side, method)(*given.values())
            return TypeAdapter(LocalScore).dump_json(score).decode(), b""
        if method in ("hand_over", "weights", "state"):
            return "null", getattr(self._side, method)()
        if method == "agree":
            self._side.agree(tuple(given["mean"]), tuple(given["std"]))
            return "null", b""
        assert method in ("backward", "adopt", "restore")
        getattr(self._side, method)(blob)
        return "null", b""


class JsonDevice:
    """A device at the other end of that connection."""

    def __init__(self, config: SplitConfig, index: int = 0):
        self._far = FarSide(config.model_dump_json(), index)
        self.closed = False

    def _ask(self, method: str, blob: bytes = b"", **given: Any) -> tuple[Any, bytes]:
        line, answer = self._far.answer(json.dumps({"method": method, "given": given}), blob)
        return json.loads(line), answer

    def _uplink(self, method: str, blob: bytes = b"", **given: Any) -> Finished[Uplink]:
        length, answer = self._ask(method, blob, **given)
        return Finished(Uplink(answer[:length], answer[length:]))

    def describe(self) -> Finished[DeviceFacts]:
        return Finished(TypeAdapter(DeviceFacts).validate_python(self._ask("describe")[0]))

    def begin_epoch(self, epoch: int, decision: Decision) -> Finished[None]:
        plain = TypeAdapter(Decision).dump_python(decision, mode="json")
        return Finished(self._ask("begin_epoch", epoch=epoch, decision=plain)[0])

    def forward(self) -> Finished[Uplink]:
        return self._uplink("forward")

    def backward(self, gradient: bytes) -> Finished[None]:
        return Finished(self._ask("backward", gradient)[0])

    def exchange(self, gradient: bytes) -> Finished[Uplink]:
        return self._uplink("exchange", gradient)

    def train_alone(self) -> Finished[LocalScore]:
        return Finished(TypeAdapter(LocalScore).validate_python(self._ask("train_alone")[0]))

    def hand_over(self) -> Finished[bytes]:
        return Finished(self._ask("hand_over")[1])

    def agree(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Finished[None]:
        return Finished(self._ask("agree", mean=mean, std=std)[0])

    def weights(self) -> Finished[bytes]:
        return Finished(self._ask("weights")[1])

    def adopt(self, weights: bytes) -> Finished[None]:
        return Finished(self._ask("adopt", weights)[0])

    def evaluate(self, split: Split, index: int) -> Finished[Uplink]:
        return self._uplink("evaluate", split=split, index=index)

    def evaluate_alone(self, split: Split, index: int) -> Finished[LocalScore]:
        answer = self._ask("evaluate_alone", split=split, index=index)[0]
        return Finished(TypeAdapter(LocalScore).validate_python(answer))

    def state(self) -> Finished[bytes]:
        return Finished(self._ask("state")[1])

    def restore(self, state: bytes) -> Finished[None]:
        return Finished(self._ask("restore", state)[0])

    def close(self) -> None:
        self.closed = True


CONFIGS = {"deprune": squeezed_config(), "freeze": freezing_config(3), "nested": every_schedule()["nested"]}
TWO = ["devices.count=2", "train.batch_size=16", "devices.optimizer=shared"]
CONFIGS["freeze, two devices"] = freezing_config(3).with_settings(TWO)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_device_behind_json_trains_to_the_same_weights(config):
    """Deprune with zstd, freeze and cache with a head that is handed over, nested; stopped and restored on the way."""
    near = Loop(config, make_local_devices(config))
    far = Loop(config, [JsonDevice(config, index) for index in range(config.devices.count)])
    assert near.facts == far.facts
    for one, other in zip(near.epochs(), far.epochs(), strict=True):
        assert one.bytes == other.bytes and one.train_loss == other.train_loss
        far.restore(far.state())
    for side, weights in near.weights().items():
        assert all(torch.equal(tensor, far.weights()[side][name]) for name, tensor in weights.items())
