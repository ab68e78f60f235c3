"""Optimizers, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from raysplit.config import FitConfig
from raysplit.torch_utils.muon import Muon


class ChainedOptimizer:
    """Several optimizers that step as one.

    >>> layer = nn.Linear(2, 1)
    >>> parts = [torch.optim.SGD([p], lr=0.1) for p in layer.parameters()]
    >>> len(ChainedOptimizer(*parts).param_groups)
    2
    """

    def __init__(self, *parts: torch.optim.Optimizer):
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    @property
    def state(self) -> dict[torch.Tensor, Any]:
        return {parameter: state for part in self.parts for parameter, state in part.state.items()}

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, own in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(own)


def make_optimizer(half: nn.Module, config: FitConfig, decay_logits: bool) -> torch.optim.Optimizer | ChainedOptimizer:
    """Return the optimizer of one half; the bottleneck's logits decay only if `decay_logits` (paper mode).

    `muon` trains what `find_matrices` returns with Muon, and everything else with AdamW at the same rate; `muon_sgd`
    trains the convolutions among them with Muon at a fixed norm, and everything else with SGD.

    >>> type(make_optimizer(nn.Linear(2, 1), FitConfig(optimizer="adamw"), decay_logits=False)).__name__
    'AdamW'
    """
    matrices = find_muon_weights(half, config)
    chosen = set(matrices)
    named = [(name, p) for name, p in half.named_parameters() if p not in chosen]
    plain = [p for name, p in named if decay_logits or not name.endswith("logits")]
    logits = [p for name, p in named if not decay_logits and name.endswith("logits")]
    groups: list[dict[str, Any]] = [{"params": plain}, {"params": logits, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]] or groups[:1]
    if config.optimizer in ("sgd", "muon_sgd"):
        lr, momentum, decay = config.lr, config.momentum, config.weight_decay
        nesterov = config.optimizer == "muon_sgd" and momentum > 0
        sgd = torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=decay, nesterov=nesterov)
        if config.optimizer == "sgd":
            return sgd
        return ChainedOptimizer(Muon([{"params": matrices}], lr=lr, momentum=momentum, fixed_norm=True), sgd)
    adam = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    if config.optimizer == "adamw":
        return adam
    muon = Muon([{"params": matrices}], lr=config.lr, weight_decay=config.weight_decay)
    return ChainedOptimizer(muon, adam)


def find_muon_weights(half: nn.Module, config: FitConfig) -> list[nn.Parameter]:
    """Return what Muon trains of a half: nothing with other optimizers.

    >>> find_muon_weights(nn.Conv2d(3, 8, 3), FitConfig(optimizer="sgd"))
    []
    """
    if config.optimizer not in ("muon", "muon_sgd"):
        return []
    return [p for p in find_matrices(half) if config.optimizer == "muon" or p.ndim == 4]


def find_matrices(half: nn.Module) -> list[nn.Parameter]:
    """Return the weights that Muon is for: matrices in a transformer's blocks, and convolutions but the patches'.

    Depthwise convolutions have one input channel each and are none. It goes by each weight alone, so the halves of a
    network have those of the whole.

    >>> [tuple(p.shape) for p in find_matrices(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 2)))]
    [(8, 3, 3, 3)]
    """
    named = half.named_parameters()
    return [
        p
        for name, p in named
        if (p.ndim == 2 and "blocks." in name) or (p.ndim == 4 and p.shape[1] > 1 and "patch_embed." not in name)
    ]


def lr_at(config: FitConfig, step: int, steps: int) -> float:
    """Return the learning rate of optimizer step `step` (from 0) of the `steps` that the schedule covers.

    >>> config = FitConfig(lr=0.1, warmup=0.5)
    >>> [round(lr_at(config, step, steps=4), 3) for step in range(4)]
    [0.05, 0.1, 0.1, 0.05]
    """
    if config.lr_schedule == "constant":
        return config.lr
    rise = round(config.warmup * steps)
    if step < rise:
        return config.lr * (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    if config.lr_schedule == "linear":
        return config.lr * (1 - done)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


class HalfOptimizer:
    """One half's optimizer, with the learning-rate schedule of the run.

    >>> layer = nn.Linear(2, 1)
    >>> optimizer = HalfOptimizer(layer, FitConfig(lr=0.1, lr_schedule="constant"), steps=10, decay_logits=False)
    >>> layer(torch.ones(1, 2)).sum().backward()
    >>> optimizer.step(0)
    >>> optimizer.lr(9)
    0.1
    """

    def __init__(self, half: nn.Module, config: FitConfig, steps: int, decay_logits: bool):
        self._half, self._config = half, config
        self._span, self._scale = (0, steps), 1.0
        self._optimizer = make_optimizer(half, config, decay_logits)
        self._optimizer.zero_grad(set_to_none=True)

    def set_span(self, first: int, steps: int, scale: float) -> None:
        """Spread the learning-rate schedule over `steps` steps from step `first`, with its peak at `scale` · lr."""
        self._span, self._scale = (first, steps), scale

    def reset(self) -> None:
        """Discard momentum and moments."""
        for part in _parts_of(self._optimizer):
            part.state.clear()
        self._optimizer.zero_grad(set_to_none=True)

    def lr(self, step: int) -> float:
        """Return the learning rate of optimizer step `step` of the run."""
        first, steps = self._span
        return self._scale * lr_at(self._config, step - first, steps)

    def step(self, step: int) -> None:
        """Apply and clear the gradients as optimizer step `step` of the run."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.lr(step)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def has_finite_weights(self) -> bool:
        """Return whether the norm of the weights that it trains is finite; reads every weight once.

        Weights beyond the root of float32's range have an infinite norm although they are finite.
        """
        weights = [weight for group in self._optimizer.param_groups for weight in group["params"]]
        return not weights or bool(nn.utils.get_total_norm(weights).isfinite())

    def find_non_finite(self) -> str | None:
        """Return the name of a weight and the part of its optimizer state that is NaN or infinite; None: there is none.

        A squared gradient beyond float32 makes AdamW's second moment infinite: that weight never moves again.
        """
        for name, parameter in self._half.named_parameters():
            for part, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor) and not value.sum().isfinite() and not value.isfinite().all():
                    return f"{part} of {name}"
        return None

    def moments(self) -> list[torch.Tensor]:
        """Return momentum and moments of what it trains, in the order of the parameters; zeros before the first step.

        They are the optimizer's own tensors: to write into one is to change its state.
        """
        found: list[torch.Tensor] = []
        for part in _parts_of(self._optimizer):
            for group in part.param_groups:
                for parameter in group["params"]:
                    if parameter.requires_grad:
                        found += _moments_of(part, parameter, group)
        return found

    def state(self) -> dict[str, Any]:
        return self._optimizer.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(state)


def _parts_of(optimizer: torch.optim.Optimizer | ChainedOptimizer) -> tuple[torch.optim.Optimizer, ...]:
    return optimizer.parts if isinstance(optimizer, ChainedOptimizer) else (optimizer,)


def _moments_of(optimizer: torch.optim.Optimizer, parameter: torch.Tensor, group: dict[str, Any]) -> list[torch.Tensor]:
    adam = isinstance(optimizer, torch.optim.AdamW)
    if not adam and not group["momentum"]:
        return []
    state = optimizer.state[parameter]
    if adam:
        state.setdefault("step", torch.tensor(0.0))
    for name in ("exp_avg", "exp_avg_sq") if adam else ("momentum_buffer",):
        if state.get(name) is None:
            state[name] = torch.zeros_like(parameter)
    return [state[name] for name in sorted(state)]
