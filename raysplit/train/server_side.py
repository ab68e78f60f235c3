"""The server side of training: the second half, the decoder, the loss. No Ray in here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from raysplit.compress.error_feedback import ErrorFeedback
from raysplit.compress.labels import extract_labels
from raysplit.compress.quantizing_codec import extract, positions
from raysplit.config import FreezeAndCache, Level, SplitConfig
from raysplit.errors import CodecError, DivergenceError, WireError
from raysplit.schedules.base import Decision
from raysplit.torch_utils.compute import autocast, pick_device
from raysplit.torch_utils.optim import HalfOptimizer
from raysplit.torch_utils.seeds import mix, seeded
from raysplit.train.activation_cache import ActivationCache, shift_codes
from raysplit.train.clip_votes import ClipVotes
from raysplit.train.codecs import Codecs
from raysplit.train.device import Score, device_seed
from raysplit.train.divergence import locate_step, require_finite_loss, require_finite_step, require_finite_weights
from raysplit.train.halves import BuiltServer
from raysplit.train.level_statistics import LevelStatistics
from raysplit.train.local_head import flatten, unflatten
from raysplit.train.shared_weights import SharedWeights
from raysplit.wire.message import Kind, Message


@dataclass(frozen=True)
class Received:
    """A micro-batch as it came from a device, which numbers its own."""

    device: int
    number: int
    level: Level
    activation: Message
    labels: Message | None
    """None where they stay on the device."""


class ServerSide:
    """What the server does in a run. Its steps are numbered through the run, apart from those of the devices.

    Args:
        classes: number of classes.
        epoch_steps: optimizer steps in an epoch, for the learning-rate schedule.
        device: whose server half this is, where each device has its own.
    """

    def __init__(self, config: SplitConfig, built: BuiltServer, classes: int, epoch_steps: int, device: int = 0):
        self._config = config.train
        self._seed = device_seed(config.train.seed, device)
        self.epoch_steps = epoch_steps
        self._classes = classes
        self._torch_device = pick_device(config.train.device)
        self._channel_dim = built.cut.channel_dim
        self._codecs = Codecs(config.codec, self._channel_dim)
        self._decision = Decision(config.levels()[0], "before the first epoch")
        self._codecs.at(self._decision.level, "down")  # a codec that cannot be built shows before training
        self._code_shape = built.code_shape
        self._half = built.half.to(self._torch_device)
        if self._config.channels_last:
            self._half = self._half.to(memory_format=torch.channels_last)
        steps = epoch_steps * self._config.epochs
        self._optimizer = HalfOptimizer(self._half, self._config, steps, decay_logits=False)
        self._feedback: dict[int, ErrorFeedback] = {}
        self._shared = SharedWeights(self._half, self._optimizer, True, config.devices.optimizer == "shared")
        self._statistics = LevelStatistics(self._half)
        self.cache = ActivationCache()
        self._shift = isinstance(config.schedule, FreezeAndCache) and config.schedule.shift

    def begin_epoch(self, decision: Decision) -> None:
        """Change to the level and the learning-rate schedule that were decided on."""
        first, epochs = decision.span or (0, self._config.epochs)
        steps = self.epoch_steps
        self._optimizer.set_span(first * steps, epochs * steps, decision.lr_scale)
        self._decision = decision
        if decision.mode == "frozen":
            self.cache.begin(str(decision.level), decision.fresh_views)
        if decision.mode not in ("frozen", "cached"):
            self.cache = ActivationCache()  # the device half changes: what was cached is out of date
        if decision.fresh_optimizer:
            self._optimizer.reset()

    def _use_statistics(self, level: Level) -> None:
        """Take the batch norms' statistics of a level, once a mixture of levels has begun."""
        if self._decision.mixture or self._statistics.begun:
            self._statistics.use(level)

    def lr(self, step: int) -> float:
        """Return the learning rate of optimizer step `step` of the run."""
        return self._optimizer.lr(step)

    def train_step(self, number: int, micros: Sequence[Received]) -> list[tuple[Message, Score]]:
        """Train on the joined micro-batches of some devices; return the gradient message and the score of each.

        The loss is the mean over all samples. A device gets the gradient of the mean over its own, so that its half
        learns as from a server that had its samples alone: averaged by samples after one step, the halves of all are
        that of a single device with the joined batch. The gradient holds the same channels and positions as the
        activation, so both directions cost the same. The optimizer steps after the last micro-batch of a step. Raises
        DivergenceError for a loss or a gradient that is NaN or infinite, as all training here does.
        """
        z, targets = self._join(micros)
        z.requires_grad_()
        with self._locating(number):
            scores = self._train(number, z, targets, micros[0].level)
            return list(zip(self._share_gradient(z, micros), scores, strict=True))

    def _share_gradient(self, z: torch.Tensor, micros: Sequence[Received]) -> list[Message]:
        """Return the gradient message of each of the micro-batches that were joined in codes `z`."""
        assert z.grad is not None
        grads, total = z.grad.split([micro.activation.shape[0] for micro in micros]), len(z)
        return [
            self._compress_gradient(grad if len(grad) == total else grad * (total / len(grad)), micro)
            for grad, micro in zip(grads, micros, strict=True)
        ]

    def _compress_gradient(self, grad: torch.Tensor, micro: Received) -> Message:
        activation, number, level = micro.activation, micro.number, micro.level
        channels, mask = activation.channels, positions(activation)
        codec = self._codecs.at(level, "down")
        try:
            if level.feedback:
                feedback = self._feedback.setdefault(micro.device, ErrorFeedback())
                feedback.begin(level)
                return feedback.compress(codec, grad, number, channels, mask)
            return codec.compress(
                grad, number, channels, mix(device_seed(self._config.seed, micro.device), "round", number), mask
            )
        except CodecError:
            if grad.isfinite().all():
                raise
            # At more than 8 bits NaN has a code; the weights behind the cut show it after the step.
            raise DivergenceError("the gradient at the cut is NaN or infinite") from None

    def adopt_head(self, weights: Message) -> None:
        """Load the device's local head into this half."""
        head = self._half.head
        assert head is not None
        weights.expect(Kind.WEIGHTS, 0, tuple(flatten(head).shape))
        unflatten(extract(weights).to(self._torch_device), head)

    def train_one_way(self, number: int, micros: Sequence[Received]) -> list[Score]:
        """Train on the joined micro-batches of some devices; no gradient goes back to them."""
        z, targets = self._join(micros)
        with self._locating(number):
            return self._train(number, self._augment(z, number), targets, micros[0].level)

    def _join(self, micros: Sequence[Received]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the codes of some micro-batches as one tensor, and the labels of each."""
        pairs = [self._receive(one.number, one.level, one.activation, one.labels) for one in micros]
        codes = [z for z, _ in pairs]
        return codes[0] if len(codes) == 1 else torch.cat(codes), [target for _, target in pairs]

    def train_from_cache(self, epoch: int, first: int) -> Iterator[Score]:
        """Train an epoch on the cached messages, reshuffled; micro-batches are numbered from `first`."""
        generator = torch.Generator().manual_seed(mix(self._config.seed, "replay", epoch))
        number = first
        for group in self.cache.replay(epoch, mix(self._config.seed, "kept", epoch)):
            level = self._decision.level
            pairs = [self._receive(activation.batch, level, activation, labels) for activation, labels in group]
            z, target = torch.cat([z for z, _ in pairs]), torch.cat([target for _, target in pairs])
            order = torch.randperm(len(target), generator=generator).to(target.device)
            for rows in order.split(len(pairs[0][1])):
                with self._locating(number):
                    (score,) = self._train(number, self._augment(z[rows], number), [target[rows]], level)
                yield score
                number += 1

    def _augment(self, z: torch.Tensor, number: int) -> torch.Tensor:
        grid = z.ndim == 4 and self._channel_dim == 1
        return shift_codes(z, mix(self._config.seed, "shift", number)) if self._shift and grid else z

    def _train(self, number: int, z: torch.Tensor, targets: Sequence[torch.Tensor], level: Level) -> list[Score]:
        """Train on codes z of some devices, one after the other, and return the score of each."""
        self._half.train()
        self._use_statistics(level)
        with seeded(mix(self._seed, "server", number), self._torch_device), self._autocast():
            logits = self._half(z)
        alone = len(targets) == 1
        smoothing = self._config.label_smoothing
        loss = cross_entropy(
            logits.float(), targets[0] if alone else torch.cat(list(targets)), label_smoothing=smoothing
        )
        if loss.requires_grad:  # not where this half is frozen and the device needs no gradient
            (loss / self._config.in_flight).backward()
        step, position = divmod(number, self._config.in_flight)
        if position == self._config.in_flight - 1:
            self._optimizer.step(step)
            require_finite_step(self._half, self._optimizer, "server")
        if alone:
            return [_score(loss, logits, targets[0])]
        parts = logits.detach().split([len(target) for target in targets])
        return [
            _score(cross_entropy(part.float(), target, label_smoothing=smoothing), part, target)
            for part, target in zip(parts, targets, strict=True)
        ]

    @torch.no_grad()
    def score(self, index: int, level: Level, activation: Message, labels: Message | None, votes: ClipVotes) -> Score:
        """Score a device's evaluation batch `index`, in eval mode; `votes` counts the answers of its whole pass.

        Raises DivergenceError for a loss, or before the first batch for weights, that are NaN or infinite.
        """
        z, target = self._receive(index, level, activation, labels)
        logits = self._evaluate(index, level, z)
        score = _score(cross_entropy(logits.float(), target), logits, target)
        correct, answers = votes.count(logits, target)
        return replace(score, correct=correct, answers=answers)

    def _evaluate(self, index: int, level: Level, z: torch.Tensor) -> torch.Tensor:
        """Return what this half makes of a code in eval mode; before the first, the weights are checked."""
        self._use_statistics(level)
        if index == 0:
            require_finite_weights(self._half, self._optimizer, "server")
        self._half.eval()
        with self._autocast():
            output: torch.Tensor = self._half(z)
        return output

    def weights(self) -> Message:
        """Return what is averaged with the server halves of other devices."""
        return self._shared.pack()

    def adopt(self, weights: Message) -> None:
        """Take the average of the server halves of several devices."""
        self._shared.load(weights)

    def state(self) -> dict[str, Any]:
        """Return everything that a checkpoint of this side holds."""
        return {
            "half": self._half.state_dict(),
            "optimizer": self._optimizer.state(),
            "feedback": {device: feedback.state() for device, feedback in self._feedback.items()},
            "kept": self.cache.state(),
            "statistics": self._statistics.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` returned; DivergenceError for one with weights that are NaN or infinite."""
        self._half.zero_grad()  # of a step that was begun when a device was lost
        self._half.load_state_dict(state["half"])
        self._optimizer.restore(state["optimizer"])
        require_finite_weights(self._half, self._optimizer, "server")
        states = state["feedback"]
        self._feedback = {}
        for device, residual in ({0: states} if "residual" in states else states).items():  # older runs: of one device
            self._feedback[device] = ErrorFeedback()
            self._feedback[device].restore(residual)
        self.cache.restore(state["kept"])
        if "statistics" in state:  # the checkpoints of older runs lack it
            self._statistics.restore(state["statistics"])

    def _receive(
        self, number: int, level: Level, activation: Message, labels: Message | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Check the messages of a micro-batch, then unpack them."""
        z = self._receive_code(number, level, activation)
        if labels is None:
            raise WireError(f"activation {number} came without labels")
        target = extract_labels(labels.expect(Kind.LABELS, number, (len(z),)))
        if not 0 <= int(target.min()) <= int(target.max()) < self._classes:
            raise WireError(f"labels of batch {number} are outside 0 to {self._classes - 1}")
        return z, target.to(self._torch_device)

    def _receive_code(self, number: int, level: Level, activation: Message) -> torch.Tensor:
        """Check and unpack an activation; nothing is allocated for a message of the wrong shape."""
        rows = min(activation.shape[0] if activation.shape else 0, self._config.batch_size)
        activation.expect(Kind.ACTIVATION, number, (rows, *self._code_shape))
        z = self._codecs.at(level, "up").extract(activation).to(self._torch_device)
        last = self._config.channels_last and z.ndim == 4
        return z.to(memory_format=torch.channels_last) if last else z

    def _locating(self, number: int) -> AbstractContextManager[None]:
        return locate_step(self._config, self.epoch_steps, number)

    def _autocast(self) -> AbstractContextManager[None]:
        return autocast(self._torch_device, self._config.precision)


def _score(loss: torch.Tensor, logits: torch.Tensor, target: torch.Tensor) -> Score:
    value, correct = loss.item(), int((logits.argmax(1) == target).sum())
    require_finite_loss(value)
    return Score(value * len(target), correct, len(target))
