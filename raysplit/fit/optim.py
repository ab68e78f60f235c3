"""Optimisers, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from raysplit.config import FitConfig


def make_optimizer(half: nn.Module, config: FitConfig, decay_logits: bool) -> torch.optim.Optimizer:
    """Return the optimiser of one half; the bottleneck's logits decay only if `decay_logits` (paper mode)."""
    plain = [p for name, p in half.named_parameters() if decay_logits or not name.endswith("logits")]
    logits = [p for name, p in half.named_parameters() if not decay_logits and name.endswith("logits")]
    groups: list[dict[str, Any]] = [{"params": plain}, {"params": logits, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]] or groups[:1]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def lr_at(config: FitConfig, step: int, steps: int) -> float:
    """Return the learning rate of optimiser step `step` (from 0) of the `steps` that the schedule covers."""
    if config.lr_schedule == "constant":
        return config.lr
    rise = round(config.warmup * steps)
    if step < rise:
        return config.lr * (step + 1) / rise
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


class HalfOptimizer:
    """One half's optimiser, stepped at the learning rate that the run has reached."""

    def __init__(self, half: nn.Module, config: FitConfig, steps: int, decay_logits: bool):
        self._half, self._config, self._decay = half, config, decay_logits
        self._span, self._scale = (0, steps), 1.0
        self.reset()

    def plan(self, first: int, steps: int, scale: float) -> None:
        """Let the learning-rate schedule cover `steps` steps from step `first`, with its peak at `scale` · lr."""
        self._span, self._scale = (first, steps), scale

    def reset(self) -> None:
        """Forget momentum and moments."""
        self._optimizer = make_optimizer(self._half, self._config, self._decay)
        self._optimizer.zero_grad(set_to_none=True)

    def lr(self, step: int) -> float:
        """Return the learning rate of optimiser step `step` of the run."""
        first, steps = self._span
        return self._scale * lr_at(self._config, step - first, steps)

    def step(self, step: int) -> None:
        """Apply and clear the gradients as optimiser step `step` of the run."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.lr(step)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict:
        return self._optimizer.state_dict()

    def restore(self, state: dict) -> None:
        self._optimizer.load_state_dict(state)
