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
from raysplit.data import batch_order
from raysplit.ensemble.forward import as_feature_classifier
from raysplit.ensemble.samples import Samples
from raysplit.errors import DivergenceError
from raysplit.records.build_stages import ClassifierEpoch
from raysplit.torch_utils.compute import autocast, compiling, pick_device
from raysplit.torch_utils.finite import find_non_finite
from raysplit.torch_utils.freezing import PartlyFrozen
from raysplit.torch_utils.optim import HalfOptimizer
from raysplit.torch_utils.seeds import mix, seeded


class Objective(PartlyFrozen):
    """A classifier and its loss as one module: what data-parallel training wraps.

    The loss is cross-entropy; of a spiking network the mean over its time steps. With a probe, a linear layer on the
    features, it has a second term, times `distill`: the KL divergence between the base's and the probe's softmax over
    all classes at a temperature, times the temperature's square (Hinton, Vinyals, Dean 2015, arXiv 1503.02531,
    section 2). The probe is not part of the model.
    """

    def __init__(self, model: nn.Module, label_smoothing: float = 0.0, distill: float = 0.0, temperature: float = 1.0):
        super().__init__()
        self.model = model
        self.probe: nn.Linear | None = None
        self._smoothing, self._distill, self._temperature = label_smoothing, distill, temperature

    def add_probe(self, width: int, classes: int) -> None:
        """Add the probe for distillation: (B, width) features to (B, classes) logits."""
        self.probe = nn.Linear(width, classes)

    def forward(self, x: Tensor, targets: Tensor, teacher: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar, for normalized images (B, C, H, W), int64 targets (B,) and the base's logits."""
        network = as_feature_classifier(self.model)
        z = network.forward_features(x)
        logits = network.forward_head(z)
        steps = logits if logits.dim() == 3 else logits[None]
        loss = cross_entropy(steps.flatten(0, 1).float(), targets.repeat(len(steps)), label_smoothing=self._smoothing)
        if self.probe is None or teacher is None:
            return loss
        student: Tensor = self.probe(network.forward_head(z, pre_logits=True)).float()
        ours, theirs = log_softmax(student / self._temperature, 1), softmax(teacher / self._temperature, 1)
        return loss + self._distill * self._temperature**2 * kl_div(ours, theirs, reduction="batchmean")


@dataclass(frozen=True)
class DataParallel:
    """One process's share of a training; by default it is the only one."""

    rank: int = 0
    world: int = 1
    """Number of processes; each takes every `world`-th image of a batch."""
    wrap: Callable[[nn.Module], nn.Module] | None = None
    """Makes an objective average its gradients over the processes."""


class ClassifierTrainer:
    """Trains an objective on samples: `for epoch in trainer.epochs()` yields the record of each epoch.

    `samples` may be a function of the epoch, which must return equally many each time. `evaluate` returns the
    validation accuracy and is called after each epoch. `name` is what errors call the network. `state` and `restore`
    between epochs are a checkpoint: a training that continues from one ends with the same weights.
    """

    def __init__(
        self,
        objective: Objective,
        samples: Samples | Callable[[int], Samples],
        config: ClassifierFit,
        augment: str,
        name: str = "the network",
        parallel: DataParallel | None = None,
        evaluate: Callable[[], float] | None = None,
    ):
        self.config, self._name, self._augment = config, name, augment
        self._records: list[ClassifierEpoch] = []
        self._samples_of = (lambda epoch: samples) if isinstance(samples, Samples) else samples
        self._samples = self._samples_of(0)
        self._parallel, self._evaluate = parallel or DataParallel(), evaluate
        self._device = pick_device(config.device)
        self._layout = torch.channels_last if config.channels_last else torch.contiguous_format
        objective.to(self._device, memory_format=self._layout)  # type: ignore[call-overload]
        self._objective = objective
        step = self._parallel.wrap(objective) if self._parallel.wrap else objective
        self._step: Callable[..., Tensor] = torch.compile(step, dynamic=False) if config.compile else step
        self._batch_size = min(config.batch_size, len(self._samples))
        self._steps_per_epoch = len(self._samples) // self._batch_size
        self._optimizer = HalfOptimizer(objective, config, config.epochs * self._steps_per_epoch, decay_logits=True)

    @property
    def records(self) -> tuple[ClassifierEpoch, ...]:
        """The epochs that have been trained."""
        return tuple(self._records)

    def epochs(self) -> Iterator[ClassifierEpoch]:
        """Train the remaining epochs; DivergenceError for a loss, or weights after an epoch, that are not finite."""
        while len(self._records) < self.config.epochs:
            record = self._train_epoch(len(self._records))
            if (weight := self._find_non_finite()) is not None:
                raise self._diverged(f"after epoch {record.epoch + 1}", f"{weight} is NaN or infinite")
            if self._evaluate is not None:
                record = record.model_copy(update={"val_accuracy": self._evaluate()})
            self._records.append(record)
            yield record
        self._objective.eval()

    def _find_non_finite(self) -> str | None:
        return find_non_finite(self._objective.model) or self._optimizer.find_non_finite()

    def _train_epoch(self, epoch: int) -> ClassifierEpoch:
        start, total = time.perf_counter(), 0.0
        rank, world = self._parallel.rank, self._parallel.world
        self._samples = self._samples_of(epoch)
        self._objective.train()
        order = batch_order(len(self._samples), self._batch_size, self.config.seed, epoch)
        for number, rows in enumerate(order, start=epoch * self._steps_per_epoch):
            seed = mix(self.config.seed, "fit", number, rank)
            with seeded(seed, self._device):
                loss = self._backward(rows[rank::world], seed)
            where = f"in epoch {epoch + 1}/{self.config.epochs}, step {number - epoch * len(order) + 1}/{len(order)}"
            if not math.isfinite(loss):
                raise self._diverged(where, f"the loss is {loss}")
            total += loss
            self._optimizer.step(number)
            if not self._optimizer.has_finite_weights() and (weight := self._find_non_finite()) is not None:
                raise self._diverged(where, f"{weight} is NaN or infinite")
        return ClassifierEpoch(epoch=epoch, loss=total / len(order), seconds=time.perf_counter() - start)

    def _diverged(self, where: str, reason: str) -> DivergenceError:
        done = len(self._records)
        kept = f"the last good epoch is {done}" if done else "no epoch was good"
        return DivergenceError(
            f"{self._name} has diverged {where}: {reason}; begin again with a learning rate below {self.config.lr:g} "
            f"({kept})"
        )

    def _backward(self, rows: Tensor, seed: int) -> float:
        """Add the gradients of some rows and return their loss."""
        samples = self._samples
        x = samples.batch(rows, self._augment, seed).to(self._device, memory_format=self._layout)
        teacher = None if samples.teacher is None else samples.teacher[rows].to(self._device)
        with compiling():
            with autocast(self._device, self.config.precision):
                loss = self._step(x, samples.targets[rows].to(self._device), teacher)
            torch.autograd.backward(loss)
        return loss.item()

    def state(self) -> dict[str, Any]:
        """Return a checkpoint: weights, optimizer and the records so far, as tensors and plain data."""
        rows = [record.model_dump() for record in self._records]
        return {"rows": rows, "weights": self._objective.state_dict(), "optimizer": self._optimizer.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint of the same training; DivergenceError for one with weights that are not finite."""
        self._records = [ClassifierEpoch.model_validate(row) for row in state["rows"]]
        self._objective.load_state_dict(state["weights"])
        self._optimizer.restore(state["optimizer"])
        if (weight := self._find_non_finite()) is not None:
            raise self._diverged("before its last checkpoint", f"{weight} is NaN or infinite there")
