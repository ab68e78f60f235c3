"""How a device learns without the server: a classifier on its own code, and the gradient that it gives the half."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from raysplit.compress.quantizing_codec import QuantizingCodec, extract, positions
from raysplit.config import UNCOMPRESSED, SplitConfig
from raysplit.torch_utils.compute import autocast, pick_device
from raysplit.torch_utils.seeds import mix, seeded
from raysplit.train.clip_votes import ClipVotes
from raysplit.train.codecs import Codecs
from raysplit.train.device import Score
from raysplit.train.divergence import require_finite_loss
from raysplit.train.half_modules import ServerHalf
from raysplit.wire.level import Level
from raysplit.wire.message import Message


class OwnLoss:
    """A device's own loss: that of its local head or, in `fedavg`, of the rest of the network.

    Args:
        seed: of the device; what is random in a step is drawn from it.
    """

    def __init__(self, config: SplitConfig, head: nn.Module, codecs: Codecs, channel_dim: int, seed: int):
        self.head = head
        self._config, self._codecs, self._channel_dim, self.seed = config.train, codecs, channel_dim, seed
        self._torch_device = pick_device(config.train.device)
        # The rest of a network draws as it does on a server.
        self._draws = "server" if isinstance(head, ServerHalf) else "head"

    def logits(self, code: torch.Tensor, training: bool) -> torch.Tensor:
        """Return the logits (N, classes) of a code as the server would receive it."""
        self.head.train(training)
        with autocast(self._torch_device, self._config.precision):
            logits: torch.Tensor = self.head(code)
        return logits

    @torch.no_grad()
    def score(self, message: Message, level: Level, labels: torch.Tensor, votes: ClipVotes) -> Score:
        """Score a code as the server would receive it, in eval mode; `votes` counts the answers of its whole pass."""
        code = self._codecs.at(level, "up").extract(message).to(self._torch_device)
        logits, target = self.logits(code, training=False), labels.to(self._torch_device)
        loss = cross_entropy(logits.float(), target).item()
        require_finite_loss(loss)
        correct, answers = votes.count(logits, target)
        return Score(loss * len(labels), correct, len(labels), answers=answers)

    def gradient(
        self, message: Message, number: int, level: Level, labels: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[float, int]]:
        """Train the head on the code as the server would receive it; return the gradient, the mean loss and the hits.

        Like the server's, the gradient is restricted to the values that would have been sent.
        """
        code = self._codecs.at(level, "up").extract(message)
        code = code.to(self._torch_device).requires_grad_()
        target = labels.to(self._torch_device)
        with seeded(mix(self.seed, self._draws, number), self._torch_device):
            logits = self.logits(code, training=True)
        loss = cross_entropy(logits.float(), target, label_smoothing=self._config.label_smoothing)
        (loss / self._config.in_flight).backward()
        value = loss.item()
        require_finite_loss(value)
        assert code.grad is not None
        result = value, int((logits.argmax(1) == target).sum())
        if message.channels is None and message.top is None and code.grad.dtype is torch.float32:
            return code.grad, result
        mask, level = positions(message), UNCOMPRESSED.replaced(top=message.top)
        kept = QuantizingCodec(level, "down", self._channel_dim).compress(
            code.grad, number, message.channels, mask=mask
        )
        return extract(kept, mask), result
