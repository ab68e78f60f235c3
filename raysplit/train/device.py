"""What the training loop asks of a device, and what a device answers.

Every argument and answer is plain data or packed messages (`raysplit.wire.message`), so that a device may be in this
process, a Ray actor, or at the other end of a network that carries JSON and bytes alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar, cast

from raysplit.errors import ConfigError
from raysplit.records.summary import SplitName
from raysplit.schedules.base import Decision
from raysplit.torch_utils.seeds import mix

Split = Literal["val", "test"]
T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


def device_seed(seed: int, device: int) -> int:
    """Return the seed of all that is random on one device of a run alone; the first device's is the run's.

    >>> device_seed(3, 0), device_seed(3, 1) == device_seed(3, 2)
    (3, False)
    """
    return seed if device == 0 else mix(seed, "device seed", device)


@dataclass(frozen=True)
class DeviceFacts:
    """What the server must know of a device's data, which only the device may have, and of its machine."""

    train_rows: int
    val_rows: int
    test_rows: int
    skipped_rows: int
    """Bad rows that were left out of the training and test splits."""
    raw_bytes: int
    """Of the training images as uint8 pixels."""
    mean: tuple[float, ...]
    """Of each channel, in 0..1: what images are normalized by."""
    std: tuple[float, ...]
    normalized_by: Literal["data", "weights"]
    """Whether mean and deviation are those of the training images, or those that the weights expect."""
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height and width of the images."""
    threads: int
    """Torch threads."""
    weights: str | None
    """sha256 of the weights that the device half started from; None: they were random."""
    test_from: SplitName
    """The split of the data set that the test images are from."""
    node: str = ""
    """Where it runs: the host's name; on a Ray cluster, the first digits of the node's id too."""
    val_chunks: tuple[int, ...] | None = None
    """How many rows of the validation split each recording has, in order; None where every row stands for itself."""
    test_chunks: tuple[int, ...] | None = None
    """Of the test split, alike."""
    shared_bytes: int = 0
    """Of the message with which its trained weights cross, to be averaged or handed on."""


@dataclass(frozen=True)
class Uplink:
    """What a device sends for one micro-batch: two packed messages."""

    activation: bytes
    labels: bytes
    """Empty where they stay on the device."""


@dataclass(frozen=True)
class Score:
    """Sums over some samples."""

    loss: float
    correct: int
    count: int
    answers: int | None = field(default=None, kw_only=True)
    """How many answers `correct` is of; None: `count`. Recordings have one answer for all their chunks."""


@dataclass(frozen=True)
class LocalScore(Score):
    """A score by the device's own local loss."""

    seconds: float
    """Seconds of work on the device."""


@dataclass(frozen=True)
class TailAnswer:
    """What a device with the last layers makes of the features of one micro-batch."""

    gradient: bytes
    """The packed message of the gradient at the second cut."""
    score: Score


class Call(Protocol[T_co]):
    """A call under way."""

    def result(self, timeout_s: float | None = None) -> T_co:
        """Wait for the answer, at most so long; raises what the device raised, or DeviceLostError without an answer."""
        ...


class Device(Protocol):
    """One device as the loop sees it. Calls run in the order in which they are made.

    Micro-batches are numbered through the run: number = step · in_flight + position in the step.

    >>> from raysplit import read_run
    >>> from raysplit.train.local_device import LocalDevice
    >>> device: Device = LocalDevice(read_run("run").config)
    >>> device.describe().result().shape
    (1, 8, 8)
    """

    def describe(self) -> Call[DeviceFacts]:
        """Tell what the server must know of the data and the machine."""
        ...

    def begin_epoch(self, epoch: int, decision: Decision) -> Call[None]:
        """Shuffle, and change to the level that the schedule decided on."""
        ...

    def forward(self) -> Call[Uplink]:
        """Send the next micro-batch.

        In epochs of mode `local` the device learns from its local head's gradient at once; in mode `frozen` it rests.
        """
        ...

    def backward(self, gradient: bytes) -> Call[None]:
        """Take the gradient message of a pending micro-batch; the optimizer steps after the last of a step."""
        ...

    def exchange(self, gradient: bytes) -> Call[Uplink]:
        """Take a gradient as `backward`, then send the next micro-batch as `forward`: one round trip."""
        ...

    def train_alone(self) -> Call[LocalScore]:
        """Train on the next step's images by the local loss; nothing crosses."""
        ...

    def hand_over(self) -> Call[bytes]:
        """Return the packed weights message of the local head, in fp16."""
        ...

    def agree(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Call[None]:
        """Normalize images by what the devices of the run agreed on, in place of what `describe` told."""
        ...

    def weights(self) -> Call[bytes]:
        """Return the packed weights message of what is averaged or handed on: in fp32, what the half trains."""
        ...

    def adopt(self, weights: bytes) -> Call[None]:
        """Take such a message: the average of several devices' weights, or those that another device handed on."""
        ...

    def evaluate(self, split: Split, index: int) -> Call[Uplink]:
        """Send batch `index` of a split, in eval mode."""
        ...

    def evaluate_alone(self, split: Split, index: int) -> Call[LocalScore]:
        """Score batch `index` of a split by the local head, in eval mode."""
        ...

    def state(self) -> Call[bytes]:
        """Return everything that a checkpoint of the device holds, packed: it crosses the link.

        With `checkpoint.device=local` it stays on the device, and what crosses is a reference to it.
        """
        ...

    def restore(self, state: bytes) -> Call[None]:
        """Go back to a state that `state` returned."""
        ...

    def is_ready(self) -> bool:
        """Return whether a device that was lost, or has just been started, answers again."""
        ...

    def close(self) -> None:
        """Release what the device holds; make no further calls."""
        ...


class TailDevice(Device, Protocol):
    """A device that can hold the layers after a second cut too, with the labels and the loss."""

    def answer(self, features: bytes) -> Call[TailAnswer]:
        """Take the features message of a pending micro-batch through the tail, and return the gradient."""
        ...

    def score(self, features: bytes) -> Call[Score]:
        """Score the batch that `evaluate` sent last by its features message, in eval mode."""
        ...


def require_tail(device: Device, index: int) -> TailDevice:
    """Return device `index` of a run as one that holds a tail; ConfigError for a kind of device that cannot."""
    if not callable(getattr(device, "answer", None)):
        raise ConfigError(f"device {index} is a {type(device).__name__}, which cannot hold a tail; leave cut_back out")
    return cast(TailDevice, device)


class Finished(Generic[T]):
    """A call that had its answer when it was made."""

    def __init__(self, answer: T):
        self._answer = answer

    def result(self, timeout_s: float | None = None) -> T:
        return self._answer
