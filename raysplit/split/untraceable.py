"""What cannot be traced, found before tracing or explained after it."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch
from torch import fx, nn

from raysplit.errors import ModelError

_TORCH = str(Path(torch.__file__).parent)


def require_plain(model: nn.Module, name: str) -> None:
    """Raise ModelError for a network that is compiled, scripted or wrapped in whole or in part; `name` is its name."""
    for path, module in model.named_modules():
        what = f"module '{path}' of model {name}" if path else f"model {name}"
        if type(module).__module__.startswith("torch._dynamo") or module._compiled_call_impl is not None:
            raise ModelError(f"{what} is compiled and cannot be cut: return it uncompiled, without torch.compile")
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(f"{what} is TorchScript, which cannot be cut: return the module that it is made of")
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise ModelError(f"{what} is wrapped in {type(module).__name__}: return the module within, its `.module`")


def require_no_backward_hook(module: nn.Module, path: str, name: str) -> None:
    """Raise ModelError for a module that is traced into and has a hook on its backward pass, which the halves lack."""
    if module._backward_hooks or module._backward_pre_hooks:
        what = f"module '{path}' of model {name}" if path else f"model {name}"
        raise ModelError(
            f"{what} has a hook on its backward pass, which is lost when the network is cut: remove it, or register it "
            "on a module without children"
        )


def explain(error: Exception, model: nn.Module) -> str:
    """Return type, first line and place of an error that tracing `model` met, and the remedy where there is one."""
    reason = str(error).strip().partition("\n")[0]
    text = f"{type(error).__name__}: {reason}"
    if (place := _find_place(error, model)) is not None:
        text = f"{text} ({place})"
    if isinstance(error, fx.proxy.TraceError) or "Proxy" in reason:
        text += "; move what depends on the values into a module without children, which is run as it is"
    return text


def _find_place(error: Exception, model: nn.Module) -> str | None:
    """Return the innermost module in whose code an error was raised, with the line if it is not torch's."""
    paths = {id(module): path for path, module in model.named_modules()}
    place = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = frame.f_locals.get("self")
        file = frame.f_code.co_filename
        if not isinstance(module, nn.Module) or id(module) not in paths or frame.f_code.co_name.startswith("_call"):
            continue
        path = paths[id(module)]
        place = f"in module '{path}'" if path else f"in the network's own {frame.f_code.co_name}"
        if not file.startswith(_TORCH):
            place += f", line {line} of {Path(file).name}"
    return place
