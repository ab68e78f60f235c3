"""What a joined device does with the calls of its run: each one once, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from raysplit.errors import RaysplitError, WireError
from raysplit.join.link import Begun, Ended, Event
from raysplit.join.progress import Progress
from raysplit.join.store import StateStore
from raysplit.train import remote_calls as calls
from raysplit.train.device import Uplink
from raysplit.train.device_side import DeviceSide
from raysplit.wire.gateway_api import Letter

Build = Callable[[calls.Setup], DeviceSide]
Reply = tuple[calls.DeviceAnswer, tuple[bytes, ...]]
_DONE: Reply = calls.Done(), ()


class Line(Protocol):
    """What a worker needs of `raysplit.join.link.Link`."""

    def next(self) -> Event: ...

    def answer(self, letter: Letter) -> None: ...


class Worker:
    """Answers calls with a half that `build` builds."""

    def __init__(self, build: Build, store: StateStore, progress: Progress):
        self._build, self._store, self._progress = build, store, progress
        self._side: DeviceSide | None = None

    def work(self, line: Line) -> str:
        """Answer until the gateway lets the device go; return the reason. Raises what ends the device."""
        while True:
            event = line.next()
            if isinstance(event, Ended):
                return event.reason
            if isinstance(event, RaysplitError):
                raise event
            if isinstance(event, Begun):
                self._side = None
                self._progress.begin(event.session)
                continue
            answer, parts = self._answer(event)
            reply = Letter("answer", event.session, event.number, answer.model_dump_json(), parts)
            line.answer(reply)
            self._progress.count(event, reply)

    def _answer(self, letter: Letter) -> Reply:
        try:
            call = calls.read_call(letter.content)
            self._progress.show(call)
            return self._do(call, letter.parts)
        except Exception as err:  # whatever it is, the run must hear of it
            return calls.Failed.of(err), ()

    def _do(self, call: calls.DeviceCall, parts: tuple[bytes, ...]) -> Reply:
        if isinstance(call, calls.Setup):
            self._side = self._build(call)
            return _DONE
        if self._side is None:
            raise WireError(f"'{call.kind}' came before the half was built")
        return self._on(self._side, call, parts)

    def _on(self, side: DeviceSide, call: calls.DeviceCall, parts: tuple[bytes, ...]) -> Reply:
        match call:
            case calls.Describe():
                return calls.Facts(facts=side.describe()), ()
            case calls.BeginEpoch():
                side.begin_epoch(call.epoch, call.decision)
            case calls.Forward():
                return _uplink(side.forward())
            case calls.Backward():
                side.backward(_one(parts))
            case calls.Exchange():
                return _uplink(side.exchange(_one(parts)))
            case calls.TrainAlone():
                return calls.Scored(score=side.train_alone()), ()
            case calls.HandOver():
                return calls.Sent(), (side.hand_over(),)
            case calls.Agree():
                side.agree(call.mean, call.std)
            case calls.Weights():
                return calls.Sent(), (side.weights(),)
            case calls.Adopt():
                side.adopt(_one(parts))
            case calls.Evaluate():
                return _uplink(side.evaluate(call.split, call.index))
            case calls.EvaluateAlone():
                return calls.Scored(score=side.evaluate_alone(call.split, call.index)), ()
            case calls.State():
                state = side.state()
                self._store.keep(state)
                return calls.Sent(), (state,)
            case calls.Restore():
                return self._restore(side, call.sha256, parts)
            case _:
                raise WireError(f"'{call.kind}' is not for a half that is built")
        return _DONE

    def _restore(self, side: DeviceSide, sha256: str, parts: tuple[bytes, ...]) -> Reply:
        state = _one(parts) if parts else self._store.find(sha256)
        if state is None:
            return calls.Unknown(), ()
        side.restore(state)
        return _DONE


def _uplink(uplink: Uplink) -> Reply:
    return calls.Sent(), (uplink.activation, uplink.labels)


def _one(parts: tuple[bytes, ...]) -> bytes:
    if len(parts) != 1:
        raise WireError(f"a call with {len(parts)} messages, expected 1")
    return parts[0]
