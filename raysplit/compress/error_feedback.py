"""Error feedback: what rounding takes from one gradient message is added to the next.

Seide, Fu, Droppo, Li, Yu, "1-Bit Stochastic Gradient Descent and its Application to Data-Parallel Distributed
Training of Speech DNNs", Interspeech 2014; Karimireddy, Rebjock, Stich, Jaggi, "Error Feedback Fixes SignSGD and
other Gradient Compression Schemes", ICML 2019, for any compressor that errs by less than what it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from raysplit.compress.codec import Codec
from raysplit.config import Level
from raysplit.wire.message import Message


class Feedback:
    """Compresses gradients in order and carries their rounding error from message to message.

    At each value, the sum of all that was sent and of the residual is the sum of the gradients that it had when
    it was sent, up to float32 rounding. A value that is not sent (its channel or position was not chosen) has no
    gradient by design, and its residual waits.
    """

    def __init__(self) -> None:
        self._level = ""
        self._residual: Tensor | None = None

    def begin(self, level: Level) -> None:
        """Go on at `level`, with nothing carried over if it is a new one."""
        if str(level) != self._level:
            self._level, self._residual = str(level), None

    def compress(
        self, codec: Codec, gradient: Tensor, batch: int, channels: Sequence[int] | None, mask: Tensor | None
    ) -> Message:
        """Return the message for a gradient and what is left of those before it, rounded to the nearest codes.

        Arguments are those of `Codec.compress`. Stochastic rounding would err by twice as much, and an error that
        is carried forward needs no unbiased mean. A gradient of another shape starts afresh.
        """
        owed = gradient.detach().to("cpu", torch.float32)
        before = self._residual
        if before is None or before.shape != owed.shape:
            before = torch.zeros_like(owed)
        owed = owed + before
        message = codec.compress(owed.to(gradient.dtype), batch, channels, seed=None, mask=mask)
        lost = owed - codec.extract(message, mask).to(torch.float32)
        self._residual = torch.where(_sent(message, mask), lost, before)
        return message

    def state(self) -> dict[str, Any]:
        """Return the level and the residual, for a checkpoint."""
        return {"level": self._level, "residual": self._residual}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` returned."""
        self._level, self._residual = state["level"], state["residual"]


def _sent(message: Message, mask: Tensor | None) -> Tensor:
    """Return which values of the whole tensor the message carries, bool, of its shape."""
    sent = torch.ones(message.sent_shape, dtype=torch.bool) if mask is None else mask
    if message.channels is None:
        return sent
    whole = torch.zeros(message.shape, dtype=torch.bool)
    return whole.index_copy_(message.channel_dim, torch.tensor(message.channels, dtype=torch.int64), sent)
