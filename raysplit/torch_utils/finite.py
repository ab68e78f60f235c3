"""Find weights that a diverged training left behind."""

from __future__ import annotations

from torch import Tensor, nn


def holds_nan(tensor: Tensor) -> bool:
    """Return whether a tensor holds NaN; of memory for the answer, only a tensor that is not finite needs any.

    >>> import torch
    >>> holds_nan(torch.tensor([1.0, float("nan")])), holds_nan(torch.tensor([float("inf"), -float("inf")]))
    (True, False)
    """
    return not tensor.sum().isfinite() and bool(tensor.isnan().any())


def find_non_finite(module: nn.Module) -> str | None:
    """Return the name of a parameter that holds NaN or infinity, or of a buffer that holds NaN; None: there is none.

    A buffer may hold infinity: the mask of an attention does.

    >>> layer = nn.Linear(2, 1)
    >>> find_non_finite(layer)
    >>> layer.bias.data.fill_(float("inf"))
    tensor([inf])
    >>> find_non_finite(layer)
    'bias'
    """
    for name, parameter in module.named_parameters():
        if not parameter.sum().isfinite() and not parameter.isfinite().all():
            return name
    for name, buffer in module.named_buffers():
        if holds_nan(buffer):
            return name
    return None
