"""Where and how a network computes: the torch device, and mixed precision."""

from __future__ import annotations

import torch

from raysplit.errors import ConfigError


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast context of a half: bfloat16, or off."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def pick_device(name: str) -> torch.device:
    """Return the torch device that a recipe names; `auto` is CUDA where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as err:
        reason = str(err).splitlines()[0]
        raise ConfigError(f"train.device '{name}' cannot be used here: {reason}. Try auto or cpu") from None
    return device
