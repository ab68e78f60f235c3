"""The plain training loop: one classifier, its images in memory, epochs that can be resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from raysplit.config import ClassifierFit
from raysplit.data import batch_order, prepare_batch
from raysplit.errors import ModelError
from raysplit.torch_utils.compute import autocast, compiling, pick_device
from raysplit.torch_utils.optim import HalfOptimizer
from raysplit.torch_utils.seeds import mix, seeded

Row = dict[str, Any]
_EVAL_BATCH = 500


@dataclass(frozen=True)
class Samples:
    """Images uint8 (N, C, H, W) with targets int64 (N,), and how a network wants to see them."""

    images: Tensor
    targets: Tensor
    mean: tuple[float, ...]
    """Of each channel, in 0..1; with `std`, the normalisation."""
    std: tuple[float, ...]
    teacher: Tensor | None = None
    """Logits (N, all classes) of the base, for distillation."""

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, rows: Tensor | slice, augment: str = "none", seed: int = 0) -> Tensor:
        """Return some images normalised, float32 (B, C, H, W), augmented as `prepare_batch` does."""
        return prepare_batch(self.images[rows], self.mean, self.std, augment, seed)


class Objective(nn.Module):
    """A classifier and the loss it learns from, as one module: what data-parallel training wraps.

    The loss is cross-entropy; of a spiking network the mean over its steps. With `distill` a linear probe on the
    features also learns to answer as the base does, for all classes: KL divergence at a temperature, times its
    square (Hinton, Vinyals, Dean 2015, arXiv 1503.02531). The probe is not part of the model.
    """

    def __init__(self, model: nn.Module, label_smoothing: float = 0.0, distill: float = 0.0, temperature: float = 1.0):
        super().__init__()
        self.model = model
        self.probe: nn.Linear | None = None
        self._smoothing, self._distill, self._temperature = label_smoothing, distill, temperature

    def with_probe(self, width: int, classes: int) -> Objective:
        """Add the probe for distillation: (B, width) features to (B, classes) logits."""
        self.probe = nn.Linear(width, classes)
        return self

    def forward(self, x: Tensor, targets: Tensor, teacher: Tensor | None = None) -> Tensor:
        z = self.model.forward_features(x)  # type: ignore[operator]
        logits = self.model.forward_head(z)  # type: ignore[operator]
        steps = logits if logits.dim() == 3 else logits[None]
        loss = cross_entropy(steps.flatten(0, 1).float(), targets.repeat(len(steps)), label_smoothing=self._smoothing)
        if self.probe is None or teacher is None:
            return loss
        answer = self.probe(self.model.forward_head(z, pre_logits=True)).float()  # type: ignore[operator]
        ours, theirs = log_softmax(answer / self._temperature, 1), softmax(teacher / self._temperature, 1)
        return loss + self._distill * self._temperature**2 * kl_div(ours, theirs, reduction="batchmean")


class Fit:
    """Trains an objective on samples; `for row in fit.epochs()` yields a row after each epoch.

    `state` and `restore` between epochs are a checkpoint: a fit that goes on from one ends with the same weights.
    `samples` may be a function from the epoch to its samples, always equally many.
    With `world` > 1 each of as many processes takes its share of every batch; `wrap` makes the objective average
    gradients among them. `name` says for people what is trained.
    """

    def __init__(
        self,
        objective: Objective,
        samples: Samples | Callable[[int], Samples],
        config: ClassifierFit,
        augment: str,
        rank: int = 0,
        world: int = 1,
        wrap: Callable[[nn.Module], nn.Module] | None = None,
        name: str = "the network",
    ):
        self.config, self.rows, self._name = config, list[Row](), name
        self._samples_of = (lambda epoch: samples) if isinstance(samples, Samples) else samples
        self._samples, self._augment = self._samples_of(0), augment
        self._rank, self._world = rank, world
        self._device = pick_device(config.device)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        objective.to(self._device, memory_format=layout)  # type: ignore[call-overload]
        self._layout, self._objective = layout, objective
        step = wrap(objective) if wrap else objective
        self._step = torch.compile(step, dynamic=False) if config.compile else step
        self._batch = min(config.batch_size, len(self._samples))
        self._per_epoch = len(self._samples) // self._batch
        self._optimizer = HalfOptimizer(objective, config, config.epochs * self._per_epoch, decay_logits=True)

    def epochs(self) -> Iterator[Row]:
        """Train the epochs that are left; a row has epoch, loss (mean over the steps) and seconds.

        Raises ModelError where the loss of an epoch is not a number.
        """
        while len(self.rows) < self.config.epochs:
            self.rows.append(self._epoch(len(self.rows)))
            yield self.rows[-1]
        self._objective.eval()

    def _epoch(self, epoch: int) -> Row:
        start, total = time.perf_counter(), 0.0
        self._samples = self._samples_of(epoch)
        self._objective.train()
        order = batch_order(len(self._samples), self._batch, self.config.seed, epoch)
        for number, rows in enumerate(order, start=epoch * self._per_epoch):
            seed = mix(self.config.seed, "fit", number, self._rank)
            with seeded(seed, self._device):
                total += self._learn(rows[self._rank :: self._world], seed)
            self._optimizer.step(number)
        if not math.isfinite(total):
            raise ModelError(
                f"{self._name} has diverged: the loss of epoch {epoch + 1} is not a number; begin again with a "
                f"learning rate below {self.config.lr:g}"
            )
        return {"epoch": epoch, "loss": total / len(order), "seconds": time.perf_counter() - start}

    def _learn(self, rows: Tensor, seed: int) -> float:
        samples = self._samples
        x = samples.batch(rows, self._augment, seed).to(self._device, memory_format=self._layout)
        teacher = None if samples.teacher is None else samples.teacher[rows].to(self._device)
        with compiling():
            with autocast(self._device, self.config.precision):
                loss = self._step(x, samples.targets[rows].to(self._device), teacher)
            loss.backward()
        return loss.item()

    def state(self) -> dict[str, Any]:
        """Return a checkpoint: weights, optimiser and the rows so far."""
        return {"rows": self.rows, "weights": self._objective.state_dict(), "optimizer": self._optimizer.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.rows = list(state["rows"])
        self._objective.load_state_dict(state["weights"])
        self._optimizer.restore(state["optimizer"])


def outputs(
    model: nn.Module, samples: Samples, precision: str = "fp32", augment: str = "none", seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return a model's features (N, F) and logits (N, classes) for all samples, float32 on the CPU, in eval mode.

    A spiking network's logits are the mean over its steps.
    """
    device, dtype = next((p.device, p.dtype) for p in model.parameters())
    found: list[tuple[Tensor, Tensor]] = []
    model.eval()
    with torch.inference_mode(), autocast(device, precision):
        for first in range(0, len(samples), _EVAL_BATCH):
            x = samples.batch(slice(first, first + _EVAL_BATCH), augment, mix(seed, first)).to(device, dtype)
            z = model.forward_features(x)  # type: ignore[operator]
            features, logits = model.forward_head(z, pre_logits=True), model.forward_head(z)  # type: ignore[operator]
            logits = logits.mean(0) if logits.dim() == 3 else logits
            found.append((features.float().cpu(), logits.float().cpu()))
    # Clones: inference tensors could not be trained on.
    return torch.cat([f for f, _ in found]).clone(), torch.cat([z for _, z in found]).clone()
