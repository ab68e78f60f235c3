"""Muon: an optimizer for weight matrices, those of convolutions included."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of Newton-Schulz, from the source."""
_STEPS = 5
_FEW_STEPS = 3
"""As in airbench."""
_EPSILON = 1e-7


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal before it is applied, so that steps are of equal size in all directions.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; on convolutions as in
    airbench (Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, arXiv 2404.00498). A convolution's
    weights are a matrix with a row for each output channel. Steps have the root mean square of AdamW's (Liu et al.
    2025, arXiv 2502.16982), so that rates of its size apply; the weights decay as in AdamW.

    With `fixed_norm` steps are as in airbench itself: each weight is first scaled to a norm of √rows, and then moves by
    `lr` of an orthogonal matrix, so that the rate is relative to the weight's size throughout; nothing decays. That is
    for convolutions in front of a normalization, which undoes the scale.

    `torch.optim.Muon` takes matrices only and multiplies in bfloat16, for which many processors have no instructions;
    here products are of the weights' own type.

    >>> weight = torch.nn.Parameter(torch.zeros(2, 1, 1, 2))
    >>> weight.grad = torch.tensor([[3.0, 0.0], [0.0, 1.0]]).view_as(weight)
    >>> Muon([weight], lr=0.5).step()
    >>> weight.detach().view(2, 2).abs().gt(0.05).tolist()
    [[True, False], [False, True]]
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        fixed_norm: bool = False,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._fixed_norm = fixed_norm

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Apply the gradients."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
        return loss

    def _move(self, weight: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[weight], group["momentum"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        mean = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        nesterov = grad.lerp(mean, momentum).flatten(1)
        if self._fixed_norm:
            step = orthogonalize(nesterov, _FEW_STEPS)
            weight.mul_(len(weight) ** 0.5 / (weight.norm() + _EPSILON))
            weight.sub_(step.reshape(weight.shape), alpha=group["lr"])
            return
        step = orthogonalize(nesterov)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.sub_(step.reshape(weight.shape), alpha=group["lr"] * 0.2 * max(step.shape) ** 0.5)


def orthogonalize(matrix: Tensor, steps: int = _STEPS) -> Tensor:
    """Return about U·Vᵀ of a matrix U·S·Vᵀ, by a Newton-Schulz iteration.

    After five steps its singular values are 0.7 to 1.2.

    >>> torch.linalg.svdvals(orthogonalize(torch.diag(torch.tensor([9.0, 3.0, 1.0])))).min() > 0.5
    tensor(True)
    """
    a, b, c = _COEFFICIENTS
    wide: Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + _EPSILON)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
