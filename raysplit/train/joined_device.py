"""The stand-in for a device that has joined a run at a gateway: its calls as letters. No Ray in here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, Protocol, TypeAlias, TypeVar

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError, DeviceLostError, WireError
from raysplit.schedules import OWN_SCHEDULES, Fixed
from raysplit.schedules.base import Decision
from raysplit.train import remote_calls as calls
from raysplit.train.device import DeviceFacts, LocalScore, Split, Uplink
from raysplit.train.user_files import read_user_files
from raysplit.wire.gateway_api import Letter
from raysplit.wire.message import parse

T = TypeVar("T")
Answer = TypeVar("Answer", bound=calls.DeviceAnswer)
Read: TypeAlias = Callable[[calls.DeviceAnswer, tuple[bytes, ...]], T]
"""Takes what a call returns from the answer and the messages that came with it; WireError if it is not there."""


class Waiting(Protocol):
    """A call on its way."""

    def result(self, timeout_s: float | None) -> Letter:
        """Wait for the answer; DeviceLostError without one."""
        ...

    def is_there(self) -> bool:
        """Return whether there is an answer, or will never be one."""
        ...


class Post(Protocol):
    """Carries the calls to one device, in a session of its own."""

    def send(self, content: str, parts: tuple[bytes, ...]) -> Waiting: ...


class JoinedDevice:
    """A device outside the cluster, by the methods of `raysplit.train.device.Device`."""

    def __init__(self, post: Post, config: SplitConfig, index: int, name: str):
        """Begin to have the device build its half; `ready` waits for it."""
        self._post, self._index, self._name = post, index, name
        files = {key: hashlib.sha256(data).hexdigest() for key, data in read_user_files(config).items()}
        setup = calls.Setup(config=_crossing(config).model_dump_json(), index=index, files=files)
        self._built = self._call(setup, _nothing)

    def ready(self) -> None:
        """Wait until the half is built; raises what building it raises."""
        self._built.result()

    def describe(self) -> JoinedCall[DeviceFacts]:
        return self._call(calls.Describe(), self._facts)

    def begin_epoch(self, epoch: int, decision: Decision) -> JoinedCall[None]:
        return self._call(calls.BeginEpoch(epoch=epoch, decision=decision), _nothing)

    def forward(self) -> JoinedCall[Uplink]:
        return self._call(calls.Forward(), _uplink)

    def backward(self, gradient: bytes) -> JoinedCall[None]:
        return self._call(calls.Backward(), _nothing, gradient)

    def exchange(self, gradient: bytes) -> JoinedCall[Uplink]:
        return self._call(calls.Exchange(), _uplink, gradient)

    def train_alone(self) -> JoinedCall[LocalScore]:
        return self._call(calls.TrainAlone(), _score)

    def hand_over(self) -> JoinedCall[bytes]:
        return self._call(calls.HandOver(), _message)

    def agree(self, mean: tuple[float, ...], std: tuple[float, ...]) -> JoinedCall[None]:
        return self._call(calls.Agree(mean=mean, std=std), _nothing)

    def weights(self) -> JoinedCall[bytes]:
        return self._call(calls.Weights(), _message)

    def adopt(self, weights: bytes) -> JoinedCall[None]:
        return self._call(calls.Adopt(), _nothing, weights)

    def evaluate(self, split: Split, index: int) -> JoinedCall[Uplink]:
        return self._call(calls.Evaluate(split=split, index=index), _uplink)

    def evaluate_alone(self, split: Split, index: int) -> JoinedCall[LocalScore]:
        return self._call(calls.EvaluateAlone(split=split, index=index), _score)

    def state(self) -> JoinedCall[bytes]:
        return self._call(calls.State(), _one)

    def restore(self, state: bytes) -> JoinedCall[None]:
        """Go back to a state, which crosses only if the device does not have it on its own disk."""
        sha256 = hashlib.sha256(state).hexdigest()

        def send_unknown(answer: calls.DeviceAnswer, parts: tuple[bytes, ...]) -> None:
            if not isinstance(answer, calls.Unknown):
                return _nothing(answer, parts)
            return self._call(calls.Restore(sha256=sha256), _nothing, state).result()

        return self._call(calls.Restore(sha256=sha256), send_unknown)

    def is_ready(self) -> bool:
        return self._last.is_there()

    def close(self) -> None:
        """Nothing to release: the run gives all its devices up at its end."""

    def _call(self, call: calls.DeviceCall, read: Read[T], *parts: bytes) -> JoinedCall[T]:
        self._last = self._post.send(call.model_dump_json(), parts)
        return JoinedCall(self._last, read, self._name, self._index)

    def _facts(self, answer: calls.DeviceAnswer, parts: tuple[bytes, ...]) -> DeviceFacts:
        return replace(_expect(answer, calls.Facts).facts, node=self._name)


def _crossing(config: SplitConfig) -> SplitConfig:
    """Return the config for a device, which is told each epoch's level: a schedule of one's own stays here."""
    if type(config.schedule) in OWN_SCHEDULES:
        return config
    if config.train.local_loss is not None:
        raise ConfigError(
            "a schedule of your own does not cross to devices that join, and train.local_loss needs one that hands "
            "over; set schedule.kind to freeze_and_cache"
        )
    return config.replaced(schedule=Fixed(level=config.levels()[0]))


class JoinedCall(Generic[T]):
    """A call to a joined device that is under way."""

    def __init__(self, waiting: Waiting, read: Read[T], name: str, index: int):
        self._waiting, self._read, self._who, self._index = waiting, read, f"device {index} ({name})", index

    def result(self, timeout_s: float | None = None) -> T:
        """Wait for the answer; raises what the device raised, or DeviceLostError where it is lost or late.

        A device whose answer is none is lost too.
        """
        letter = self._waiting.result(timeout_s)
        try:
            answer = calls.read_answer(letter.content)
            if not isinstance(answer, calls.Failed):
                return self._read(answer, letter.parts)
        except WireError as err:
            raise DeviceLostError(f"{self._who} does not answer as a device does: {err}", self._index) from None
        raise answer.to_error(self._who)


def _expect(answer: calls.DeviceAnswer, kind: type[Answer]) -> Answer:
    if not isinstance(answer, kind):
        raise WireError(f"'{answer.kind}' is not an answer to this call")
    return answer


def _nothing(answer: calls.DeviceAnswer, parts: tuple[bytes, ...]) -> None:
    _expect(answer, calls.Done)


def _one(answer: calls.DeviceAnswer, parts: tuple[bytes, ...]) -> bytes:
    _expect(answer, calls.Sent)
    if len(parts) != 1:
        raise WireError(f"{len(parts)} messages, expected 1")
    return parts[0]


def _message(answer: calls.DeviceAnswer, parts: tuple[bytes, ...]) -> bytes:
    parse(one := _one(answer, parts))
    return one


def _uplink(answer: calls.DeviceAnswer, parts: tuple[bytes, ...]) -> Uplink:
    _expect(answer, calls.Sent)
    if len(parts) != 2:
        raise WireError(f"{len(parts)} messages, expected 2")
    for part in filter(None, parts):
        parse(part)
    return Uplink(*parts)


def _score(answer: calls.DeviceAnswer, parts: tuple[bytes, ...]) -> LocalScore:
    return _expect(answer, calls.Scored).score
