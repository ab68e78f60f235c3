"""What a device answers to calls that it cannot do, and how its errors cross."""

from __future__ import annotations

import io
import json

import pytest

from raysplit.config import Level
from raysplit.errors import DataError, DeviceLostError, DivergenceError, RaysplitError, WireError
from raysplit.join.link import Begun, Ended
from raysplit.join.progress import Progress
from raysplit.join.store import StateStore
from raysplit.join.worker import Worker
from raysplit.schedules.base import Decision
from raysplit.schedules.mixture import WeightedLevel
from raysplit.train import remote_calls as calls
from raysplit.train.joined_device import JoinedCall, JoinedDevice
from raysplit.wire.gateway_api import Letter
from tests.join.runs import joined_config

SETUP = calls.Setup(config="{}", index=0).model_dump_json()


class Line:
    """Hands out what the test says, and keeps the answers."""

    def __init__(self, *events):
        self.events, self.answers = [Begun("s"), *events, Ended("enough")], []

    def next(self):
        return self.events.pop(0)

    def answer(self, letter):
        self.answers.append(letter)


class Side:
    """A half that fails or answers as the test says."""

    def __init__(self, outcome):
        self.outcome = outcome

    def forward(self):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def restore(self, state):
        self.outcome = state


def letters(*contents: str, parts: tuple[bytes, ...] = ()) -> list[Letter]:
    return [Letter("call", "s", number, content, parts) for number, content in enumerate(contents, start=1)]


def work(tmp_path, build, *events) -> list[calls.DeviceAnswer]:
    line = Line(*events)
    worker = Worker(build, StateStore(tmp_path), Progress("attic", io.StringIO()))
    assert worker.work(line) == "enough"
    assert [letter.number for letter in line.answers] == list(range(1, len(line.answers) + 1))
    return [calls.read_answer(letter.content) for letter in line.answers]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"kind":"forward"}', "came before the half was built"),
        ('{"kind":"__init__"}', "not a call"),
        ('{"kind":"forward","more":1}', "not a call: forward.more"),
        ('{"kind":"evaluate","split":"train","index":0}', "not a call"),
        ('{"kind":"evaluate","split":"val","index":-1}', "not a call"),
        ("rm -rf", "not a call"),
    ],
)
def test_what_is_no_call_is_answered_as_such(tmp_path, content, text):
    (answer,) = work(tmp_path, None, *letters(content))
    assert isinstance(answer, calls.Failed) and answer.error == "WireError" and text in answer.text


@pytest.mark.parametrize("err", [DataError("photos: no rows"), DivergenceError("NaN"), WireError("batch 3")])
def test_errors_cross_by_name_and_text(tmp_path, err):
    _, answer = work(tmp_path, lambda _: Side(err), *letters(SETUP, '{"kind":"forward"}'))
    assert isinstance(answer, calls.Failed)
    again = answer.to_error("device 1 (attic)")
    assert type(again) is type(err) and str(again) == f"device 1 (attic): {err}"


def test_other_errors_keep_their_name_in_the_text(tmp_path):
    _, answer = work(tmp_path, lambda _: Side(KeyError("x")), *letters(SETUP, '{"kind":"forward"}'))
    assert answer == calls.Failed(error="RaysplitError", text="KeyError: 'x'")
    for name in ("difflib", "nearest", "Iterable", "__builtins__", "nothing"):
        assert type(calls.Failed(error=name, text="x").to_error("attic")) is RaysplitError


def test_a_state_that_the_disk_does_not_have_is_asked_for(tmp_path):
    side, store = Side(None), StateStore(tmp_path)
    known, unknown = store.keep(b"state"), "0" * 64
    ask = [calls.Restore(sha256=sha).model_dump_json() for sha in (known, unknown, "../../etc/passwd")]
    answers = work(tmp_path, lambda _: side, *letters(SETUP, *ask))
    assert answers == [calls.Done(), calls.Done(), calls.Unknown(), calls.Unknown()] and side.outcome == b"state"


def test_a_damaged_state_on_the_disk_is_none(tmp_path):
    store = StateStore(tmp_path)
    sha256 = store.keep(b"state")
    (tmp_path / f"{sha256}.state").write_bytes(b"stat")
    assert store.find(sha256) is None
    newest = [store.keep(bytes([number])) for number in range(5)]
    assert [store.find(one) is not None for one in newest] == [False, False, True, True, True]


def test_a_decision_crosses_whole():
    level = Level("c4.b4/b4.zstd")
    decision = Decision(
        level,
        "because",
        reset_logits=True,
        mode="local",
        span=(2, 3),
        lr_scale=1 / 3,
        mixture=(WeightedLevel(level=level, weight=0.1), WeightedLevel(level=Level("all.b8/b8.ch"), weight=0.9)),
    )
    call = calls.BeginEpoch(epoch=4, decision=decision)
    assert calls.read_call(call.model_dump_json()) == call


class Answered:
    """A call that has its answer."""

    def __init__(self, content: str, parts: tuple[bytes, ...]):
        self._letter = Letter("answer", "s", 1, content, parts)

    def result(self, timeout_s=None) -> Letter:
        return self._letter

    def is_there(self) -> bool:
        return True


class Replies:
    """A device that answers everything alike."""

    def __init__(self, content: str, *parts: bytes):
        self._answer = Answered(content, parts)

    def send(self, content: str, parts: tuple[bytes, ...]) -> Answered:
        return self._answer


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("{", ()),
        ("null", ()),
        ('{"kind":"done"}', ()),
        ('{"kind":"sent"}', ()),
        ('{"kind":"sent"}', (b"a", b"b", b"c")),
        ('{"kind":"sent"}', (b"not a message", b"neither")),
        ('{"kind":"facts","facts":{}}', ()),
        ('{"kind":"scored","score":{"loss":"x"}}', ()),
        (json.dumps({"kind": "run", "code": "rm -rf"}), ()),
    ],
)
def test_a_device_that_answers_otherwise_is_lost_and_the_run_hears_why(content, parts):
    device = JoinedDevice(Replies(content, *parts), joined_config(), 1, "attic")
    call: JoinedCall = device.forward()
    with pytest.raises(DeviceLostError, match=r"device 1 \(attic\) does not answer as a device does") as lost:
        call.result()
    assert lost.value.device == 1 and not lost.value.late
