"""The device's part after a second cut: the last layers, with labels and loss, which stay there."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from raysplit.config import Level, SplitConfig
from raysplit.errors import CodecError, DivergenceError, WireError
from raysplit.split import Cut
from raysplit.torch_utils.compute import autocast, pick_device
from raysplit.torch_utils.seeds import mix, seeded
from raysplit.train.clip_votes import ClipVotes
from raysplit.train.codecs import Codecs
from raysplit.train.device import Score
from raysplit.train.divergence import require_finite_loss
from raysplit.train.half_modules import Tail
from raysplit.wire.message import Kind, Message


def level_back(level: Level) -> Level:
    """Return the level at the second cut: bits, ranges and entropy stage of the first one's.

    Channels, top-k and error feedback are chosen at the first cut, which may have other channels and fewer values.
    Noise hides what the device sends up there.

    >>> str(level_back(Level("c4.b4/b8.ef.n50.zstd")))
    'all·b4/b8·zstd'
    """
    return level.replaced(channels=None, top=None, top_random=0, feedback=False, noise=0)


class TailSide:
    """What a device does after the second cut.

    Args:
        seed: of the device; what is random in a step is drawn from it.
    """

    def __init__(self, config: SplitConfig, tail: Tail, back: Cut, seed: int):
        self._config, self._tail, self._back, self._seed = config.train, tail, back, seed
        self._torch_device = pick_device(config.train.device)
        self._codecs = Codecs(config.codec, back.channel_dim)
        level = level_back(config.levels()[0])
        self._codecs.at(level, "down")  # a codec that cannot be built shows before training
        self._labels: dict[int, torch.Tensor] = {}

    def begin(self) -> None:
        """Forget what was under way."""
        self._labels.clear()

    def expect(self, number: int, labels: torch.Tensor) -> None:
        """Keep the labels of a micro-batch, or of an evaluation batch, until its features come."""
        self._labels[number] = labels

    def train(self, message: Message, level: Level) -> tuple[Message, Score]:
        """Train on the features of a micro-batch; return the gradient message and the score.

        The gradient is that of the mean loss over the micro-batch, as a share of its optimizer step.
        """
        number = message.batch
        features, target = self._receive(message, level)
        features.requires_grad_()
        self._tail.train()
        with seeded(mix(self._seed, "tail", number), self._torch_device):
            logits = self._logits(features)
        loss = cross_entropy(logits.float(), target, label_smoothing=self._config.label_smoothing)
        (loss / self._config.in_flight).backward()
        assert features.grad is not None
        score = _score(loss, logits, target)
        try:
            codec = self._codecs.at(level_back(level), "down")
            return codec.compress(features.grad, number, None, mix(self._seed, "round back", number)), score
        except CodecError:
            if features.grad.isfinite().all():
                raise
            raise DivergenceError("the gradient at the second cut is NaN or infinite") from None

    @torch.no_grad()
    def score(self, message: Message, level: Level, votes: ClipVotes) -> Score:
        """Score an evaluation batch by its features, in eval mode; `votes` counts the answers of its whole pass."""
        features, target = self._receive(message, level)
        self._tail.eval()
        logits = self._logits(features)
        score = _score(cross_entropy(logits.float(), target), logits, target)
        correct, answers = votes.count(logits, target)
        return Score(score.loss, correct, score.count, answers=answers)

    def _receive(self, message: Message, level: Level) -> tuple[torch.Tensor, torch.Tensor]:
        if message.batch not in self._labels:
            raise WireError(f"features of micro-batch {message.batch}, which is not under way")
        labels = self._labels.pop(message.batch)
        message.expect(Kind.ACTIVATION, message.batch, (len(labels), *self._back.shape))
        features = self._codecs.at(level_back(level), "up").extract(message).to(self._torch_device)
        if self._config.channels_last and features.ndim == 4:
            features = features.to(memory_format=torch.channels_last)
        return features, labels.to(self._torch_device)

    def _logits(self, features: torch.Tensor) -> torch.Tensor:
        with autocast(self._torch_device, self._config.precision):
            logits: torch.Tensor = self._tail(features)
        return logits


def make_tail_side(config: SplitConfig, tail: Tail | None, back: Cut | None, seed: int) -> TailSide | None:
    """Return what a device does after the second cut; None where there is none."""
    return None if tail is None or back is None else TailSide(config, tail, back, seed)


def _score(loss: torch.Tensor, logits: torch.Tensor, target: torch.Tensor) -> Score:
    value = loss.item()
    require_finite_loss(value)
    return Score(value * len(target), int((logits.argmax(1) == target).sum()), len(target))
