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


class ErrorFeedback:
    """Compresses gradients in order and carries their rounding error from message to message.

    At each position, the values sent plus the residual add up to the gradients of the messages that had the position,
    up to float32 rounding. A position that is not sent (its channel or value was not chosen) has no gradient by
    design, and keeps its residual.

    >>> from raysplit.compress import QuantizingCodec, extract
    >>> level = Level("all.b4/b2.ef")
    >>> feedback, codec = ErrorFeedback(), QuantizingCodec(level, "down")
    >>> feedback.begin(level)
    >>> gradients = [torch.randn(2, 3) for _ in range(9)]
    >>> sent = sum(extract(feedback.compress(codec, g, i, None, None)) for i, g in enumerate(gradients))
    >>> bool((sum(gradients) - sent).abs().max() < 3)
    True
    """

    def __init__(self) -> None:
        self._level = ""
        self._residual: Tensor | None = None

    def begin(self, level: Level) -> None:
        """Continue at a level; a new level starts without a residual."""
        if str(level) != self._level:
            self._level, self._residual = str(level), None

    def compress(
        self, codec: Codec, gradient: Tensor, batch: int, channels: Sequence[int] | None, mask: Tensor | None
    ) -> Message:
        """Return the message for a gradient plus the residual, rounded to the nearest codes.

        Arguments are those of `Codec.compress`. Stochastic rounding would err by twice as much, and an error that
        is carried forward does not need an unbiased mean. A gradient of another shape starts without a residual.
        """
        corrected = gradient.detach().to("cpu", torch.float32)
        residual = self._residual
        if residual is None or residual.shape != corrected.shape:
            residual = torch.zeros_like(corrected)
        corrected = corrected + residual
        message = codec.compress(corrected.to(gradient.dtype), batch, channels, seed=None, mask=mask)
        error = corrected - codec.extract(message, mask).to(torch.float32)
        self._residual = torch.where(_sent_positions(message, mask), error, residual)
        return message

    def state(self) -> dict[str, Any]:
        """Return the level and the residual, for a checkpoint."""
        return {"level": self._level, "residual": self._residual}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` returned."""
        self._level, self._residual = state["level"], state["residual"]


def _sent_positions(message: Message, mask: Tensor | None) -> Tensor:
    """Return which values of the whole tensor a message carries: bool, of its shape."""
    sent = torch.ones(message.sent_shape, dtype=torch.bool) if mask is None else mask
    if message.channels is None:
        return sent
    whole = torch.zeros(message.shape, dtype=torch.bool)
    return whole.index_copy_(message.channel_dim, torch.tensor(message.channels, dtype=torch.int64), sent)
