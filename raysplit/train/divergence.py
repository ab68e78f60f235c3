"""Notice that training diverges, in the step in which it happens: NaN must not become a result.

Losses are checked where they are read anyway, weights after each step, buffers and optimizers before each evaluation.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from raysplit.config import TrainConfig
from raysplit.errors import DivergenceError
from raysplit.folders.run_dir import RunDir, unpack_weights
from raysplit.records.epoch import EpochRecord
from raysplit.torch_utils.finite import find_non_finite, holds_nan
from raysplit.torch_utils.optim import HalfOptimizer

_log = logging.getLogger(__name__)
_HOPELESS = 100
"""A validation loss of so many times that of a guess is finite, but no result."""


@contextmanager
def locate_step(config: TrainConfig, steps: int, number: int) -> Iterator[None]:
    """Add to a DivergenceError the step of micro-batch `number` of the run, with `steps` steps in an epoch.

    >>> with locate_step(TrainConfig(epochs=2, batch_size=8, in_flight=2), steps=10, number=27):
    ...     require_finite_loss(float("nan"))
    Traceback (most recent call last):
    raysplit.errors.DivergenceError: training has diverged in epoch 2/2, step 4/10: the loss is nan; begin again with \
train.lr below 0.05
    """
    try:
        yield
    except DivergenceError as err:
        epoch, step = divmod(number // config.in_flight, steps)
        raise diverged(config, f"epoch {epoch + 1}/{config.epochs}, step {step + 1}/{steps}", err) from None


def diverged(config: TrainConfig, where: str, reason: DivergenceError) -> DivergenceError:
    """Return the error for a training that diverges somewhere, with its remedy."""
    own = f" and train.device_lr below {config.device_lr:g}" if config.device_lr else ""
    return DivergenceError(
        f"training has diverged in {where}: {reason}; begin again with train.lr below {config.lr:g}{own}"
    )


def require_finite_loss(loss: float) -> None:
    """Raise DivergenceError, without the place and the remedy, for a loss that is NaN or infinite."""
    if not math.isfinite(loss):
        raise DivergenceError(f"the loss is {loss}")


def require_finite_step(half: nn.Module, optimizer: HalfOptimizer, side: str) -> None:
    """Raise DivergenceError, without the place and the remedy, after a step whose weights are NaN or infinite.

    Most such weights would make the next loss NaN, but not those that do not reach it: a channel that is not sent, a
    row of an embedding that is not looked up.
    """
    if not optimizer.has_finite_weights():
        require_finite_weights(half, optimizer, side)


def require_finite_weights(half: nn.Module, optimizer: HalfOptimizer, side: str) -> None:
    """Raise DivergenceError, without the place and the remedy, where a half, with its buffers, or its optimizer is
    NaN or infinite.
    """
    if (name := find_non_finite(half)) is not None:
        raise DivergenceError(f"{name} of the {side} half is NaN or infinite")
    if (name := optimizer.find_non_finite()) is not None:
        raise DivergenceError(f"{name} of the {side} half's optimizer is NaN or infinite")


def warn_of_huge_loss(record: EpochRecord, config: TrainConfig, classes: int) -> None:
    """Warn of an epoch whose validation loss is finite but a hundred times that of a guess, ln(classes), or more.

    It is no error: such a loss may fall again, and the record shows it.
    """
    guess = math.log(max(2, classes))
    if record.val_loss >= _HOPELESS * guess:
        _log.warning(
            f"epoch {record.epoch + 1}/{config.epochs}: the validation loss is {record.val_loss:.3g}, that of a guess "
            f"{guess:.3g}: training diverges; if it does not fall, begin again with train.lr below {config.lr:g}"
        )


def require_finite_file(data: bytes, name: str, location: str, lr: float) -> None:
    """Raise DivergenceError where a safetensors file `name` of the run at `location`, trained at `lr`, holds NaN.

    Raises ConfigError for a damaged file.
    """
    for key, tensor in unpack_weights(data, f"{location}/{name}").items():
        if holds_nan(tensor):
            raise DivergenceError(
                f"the run in '{location}' has diverged: {key} in {name} holds NaN; begin a new run with train.lr below "
                f"{lr:g}"
            )


def require_finite_run(folder: RunDir) -> None:
    """Raise DivergenceError where a run that has ended holds NaN in its weights, as one of an earlier version may."""
    lr = folder.config().train.lr
    levels = [f"levels/{name}" for name in RunDir.at(f"{folder.location}/levels").names()]
    for name in [*folder.names(), *levels]:
        if name.endswith(".safetensors"):
            require_finite_file(folder.read(name), name, folder.location, lr)
