"""Where and how a network computes: the torch device, mixed precision, and compiled or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch._dynamo.exc import BackendCompilerFailed
from torch.nn.attention import SDPBackend, sdpa_kernel

from raysplit.errors import ConfigError


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Compute in bfloat16 where that is exact enough, as torch's autocast does; other precisions: as it is.

    On a CPU attention is then written out: the backward of torch's fused kernel takes longer in bfloat16 than all
    other work of a small ViT together (docs/log.md).
    """
    enabled = precision == "bf16"
    attention = sdpa_kernel(SDPBackend.MATH) if enabled and device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled), attention:
        yield


@contextmanager
def compiling() -> Iterator[None]:
    """Say what to do, as a ConfigError, where a step that torch.compile has made cannot be compiled."""
    try:
        yield
    except BackendCompilerFailed as err:
        raise ConfigError(
            f"compile: the network cannot be compiled here: {err.inner_exception}. On a CPU it needs a C++ compiler "
            "(g++); install one, or leave compile out"
        ) from err


def pick_device(name: str, key: str = "train.device") -> torch.device:
    """Return the torch device that a recipe names; `auto` is CUDA where there is one.

    ConfigError, with the recipe's key, for one that cannot be used here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as err:
        reason = str(err).splitlines()[0]
        raise ConfigError(f"{key} '{name}' cannot be used here: {reason}. Try auto or cpu") from None
    return device
