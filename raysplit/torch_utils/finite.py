"""Find weights that a diverged training left behind."""

from __future__ import annotations

from torch import nn


def find_non_finite(module: nn.Module) -> str | None:
    """Return the name of a parameter that holds NaN or infinity, or of a buffer that holds NaN; None: there is none.

    A buffer may hold infinity: the mask of an attention does.

    >>> layer = nn.Linear(2, 1)
    >>> find_non_finite(layer)
    >>> nn.init.constant_(layer.bias, float("inf"))
    Parameter containing:
    tensor([inf], requires_grad=True)
    >>> find_non_finite(layer)
    'bias'
    """
    for name, parameter in module.named_parameters():
        if not parameter.isfinite().all():
            return name
    for name, buffer in module.named_buffers():
        if buffer.isnan().any():
            return name
    return None
