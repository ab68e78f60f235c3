"""Where and how a network computes: the torch device, mixed precision, and compiled or not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from raysplit.errors import ConfigError
from raysplit.hardware.processor import has_bf16

_log = logging.getLogger(__name__)


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Compute under torch's autocast to bfloat16 if `precision` is bf16; any other precision changes nothing.

    On a CPU without instructions for bfloat16, which takes many times as long there, a warning is logged once.

    On a CPU, attention then uses the unfused math kernel: the backward pass of torch's fused kernel takes longer in
    bfloat16 than all other work of a small ViT together (docs/log.md).

    >>> with autocast(torch.device("cpu"), "bf16"):
    ...     torch.nn.Linear(4, 2)(torch.ones(1, 4)).dtype
    torch.bfloat16
    """
    enabled = precision == "bf16"
    if not enabled and not torch.is_autocast_enabled(device.type):  # a context that changes nothing takes 0.1 ms
        yield
        return
    if enabled and device.type == "cpu" and not has_bf16():
        warn_of_slow_bf16()
    attention = sdpa_kernel(SDPBackend.MATH) if enabled and device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled), attention:
        yield


@cache
def warn_of_slow_bf16() -> None:
    """Log, once in a process, that bf16 takes many times as long as fp32 on this processor."""
    _log.warning(
        "this processor has no instructions for bf16, which takes many times as long here as fp32; precision=fp32 "
        "avoids it"
    )


@contextmanager
def compiling() -> Iterator[None]:
    """Turn the failure of torch.compile to compile a step into a ConfigError with a remedy."""
    try:
        yield
    except RuntimeError as err:
        from torch._dynamo.exc import BackendCompilerFailed  # takes seconds to import

        if not isinstance(err, BackendCompilerFailed):
            raise
        raise ConfigError(
            f"compile: the network cannot be compiled here: {err.inner_exception}. On a CPU it needs a C++ compiler "
            "(g++); install one, or leave compile out"
        ) from err


def pick_device(name: str, key: str = "train.device") -> torch.device:
    """Return the torch device that a recipe names; `auto` is CUDA where there is one.

    Raises ConfigError, which names the recipe's key, for a device that cannot be used here.

    >>> pick_device("cpu")
    device(type='cpu')
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
