"""Notice that training diverges, in the step in which it happens: NaN must not become a result.

Losses are checked where they are read anyway, weights before each evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from raysplit.config import TrainConfig
from raysplit.errors import DivergenceError
from raysplit.torch_utils.finite import find_non_finite


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
    return DivergenceError(f"training has diverged in {where}: {reason}; begin again with train.lr below {config.lr:g}")


def require_finite_loss(loss: float) -> None:
    """Raise DivergenceError, without the place and the remedy, for a loss that is NaN or infinite."""
    if not math.isfinite(loss):
        raise DivergenceError(f"the loss is {loss}")


def require_finite_weights(half: nn.Module, side: str) -> None:
    """Raise DivergenceError, without the place and the remedy, for a half with weights that are NaN or infinite."""
    if (name := find_non_finite(half)) is not None:
        raise DivergenceError(f"{name} of the {side} half is NaN or infinite")
