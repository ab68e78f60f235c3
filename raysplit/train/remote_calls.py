"""The calls of `raysplit.train.device.Device` and their answers as JSON and messages, for a device at the far end.

A call is a JSON object with its name as `kind`; messages and states that it carries go beside it, as they are. Nothing
that is read here is run.

    >>> call = read_call('{"kind": "evaluate", "split": "val", "index": 3}')
    >>> call
    Evaluate(kind='evaluate', split='val', index=3)
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from raysplit import errors
from raysplit.errors import RaysplitError, WireError
from raysplit.schedules.base import Decision
from raysplit.train.device import DeviceFacts, LocalScore, Split

T = TypeVar("T")
_Index: TypeAlias = Annotated[int, Field(ge=0)]


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Setup(_Content):
    """Build the half of device `index` by a config as JSON; `files` has the sha256 of each of the user's own."""

    kind: Literal["setup"] = "setup"
    config: str
    index: _Index
    files: dict[str, str] = Field(default_factory=dict)


class Describe(_Content):
    kind: Literal["describe"] = "describe"


class BeginEpoch(_Content):
    kind: Literal["begin_epoch"] = "begin_epoch"
    epoch: _Index
    decision: Decision


class Forward(_Content):
    kind: Literal["forward"] = "forward"


class Backward(_Content):
    """With the gradient message."""

    kind: Literal["backward"] = "backward"


class Exchange(_Content):
    """With the gradient message."""

    kind: Literal["exchange"] = "exchange"


class TrainAlone(_Content):
    kind: Literal["train_alone"] = "train_alone"


class HandOver(_Content):
    kind: Literal["hand_over"] = "hand_over"


class Agree(_Content):
    kind: Literal["agree"] = "agree"
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Weights(_Content):
    kind: Literal["weights"] = "weights"


class Adopt(_Content):
    """With the weights message."""

    kind: Literal["adopt"] = "adopt"


class Evaluate(_Content):
    kind: Literal["evaluate"] = "evaluate"
    split: Split
    index: _Index


class EvaluateAlone(_Content):
    kind: Literal["evaluate_alone"] = "evaluate_alone"
    split: Split
    index: _Index


class State(_Content):
    kind: Literal["state"] = "state"


class Restore(_Content):
    """With the packed state, or without it: then the device takes the one of this sha256 from its own disk."""

    kind: Literal["restore"] = "restore"
    sha256: str


DeviceCall: TypeAlias = (
    Setup
    | Describe
    | BeginEpoch
    | Forward
    | Backward
    | Exchange
    | TrainAlone
    | HandOver
    | Agree
    | Weights
    | Adopt
    | Evaluate
    | EvaluateAlone
    | State
    | Restore
)


class Done(_Content):
    """It is done."""

    kind: Literal["done"] = "done"


class Facts(_Content):
    kind: Literal["facts"] = "facts"
    facts: DeviceFacts


class Sent(_Content):
    """With the one message or state, or the two messages of an uplink."""

    kind: Literal["sent"] = "sent"


class Scored(_Content):
    kind: Literal["scored"] = "scored"
    score: LocalScore


class Unknown(_Content):
    """The device does not have the state that it was asked to go back to: send it."""

    kind: Literal["unknown"] = "unknown"


class Failed(_Content):
    """What the device raised: the class, one of `raysplit.errors`, and its text."""

    kind: Literal["failed"] = "failed"
    error: str
    text: str

    @classmethod
    def of(cls, err: Exception) -> Failed:
        """Return the answer for an error; what is not raysplit's own keeps its name in the text."""
        if isinstance(err, RaysplitError):
            return cls(error=type(err).__name__, text=str(err))
        return cls(error="RaysplitError", text=f"{type(err).__name__}: {err}")

    def to_error(self, who: str) -> RaysplitError:
        """Return the error, with the device's name in front."""
        kind = getattr(errors, self.error, RaysplitError)
        text = f"{who}: {self.text}"
        return kind(text) if isinstance(kind, type) and issubclass(kind, RaysplitError) else RaysplitError(text)


DeviceAnswer: TypeAlias = Done | Facts | Sent | Scored | Unknown | Failed

_CALLS: TypeAdapter[DeviceCall] = TypeAdapter(Annotated[DeviceCall, Field(discriminator="kind")])
_ANSWERS: TypeAdapter[DeviceAnswer] = TypeAdapter(Annotated[DeviceAnswer, Field(discriminator="kind")])


def read_call(text: str) -> DeviceCall:
    """Read a call from JSON; WireError for anything else."""
    return _read(_CALLS, text, "call")


def read_answer(text: str) -> DeviceAnswer:
    """Read an answer from JSON; WireError for anything else."""
    return _read(_ANSWERS, text, "answer")


def _read(adapter: TypeAdapter[T], text: str, what: str) -> T:
    try:
        return adapter.validate_json(text)
    except ValidationError as err:
        problem = err.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise WireError(f"not a {what}: {where or 'it'}: {problem['msg']}") from None
