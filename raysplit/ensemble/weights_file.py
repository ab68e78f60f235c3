"""A network's weights as a file, at a precision. Nothing is ever unpickled.

`int8` is a storage format: it computes in bf16. Integer products with activations quantized row by row
(`torch._int_mm`) were only 1.1 times as fast as bf16, too little for a second way to compute: a ViT of width 128 at
224 pixels, one thread of a CPU with AVX-512 VNNI.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from raysplit.config import Precision
from raysplit.errors import BundleError, DivergenceError
from raysplit.hardware.processor import fast_precision
from raysplit.torch_utils.compute import warn_of_slow_bf16
from raysplit.torch_utils.finite import holds_nan

_KEY = "raysplit"
"""The only metadata key: safetensors writes several in any order, and equal weights should give equal files."""
VERSION = 1
_SCALE = ".scale"
_INT8_MAX = 127
# In fp32 at every precision: a rounded mean shifts a whole map, and there are few of them.
_STATISTICS = ("running_mean", "running_var")
# How files of torch.save begin, now and before version 1.6.
_PICKLE_PREFIXES = (b"PK\x03\x04", b"\x80")


def compute_dtype(precision: Precision) -> torch.dtype:
    """Return the dtype that a network stored at `precision` computes in.

    >>> compute_dtype("int8")
    torch.bfloat16
    """
    return torch.float32 if precision == "fp32" else torch.bfloat16


def set_precision(model: nn.Module, precision: Precision) -> nn.Module:
    """Convert a network, in place, to the dtype that `precision` computes in, and put it into eval mode.

    Batch norms stay in fp32. Returns the network. Where this machine computes slowly in bf16, a warning is logged once.
    """
    if precision != "fp32" and fast_precision() == "fp32":
        warn_of_slow_bf16()
    model.to(compute_dtype(precision)).eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.float()
    return model


def pack(state_dict: Mapping[str, Tensor], precision: Precision) -> bytes:
    """Return a state dict as the bytes of a safetensors file.

    `fp32` and `bf16` store all floats in that dtype, except batch norm's running statistics, which are always fp32;
    integers are unchanged. `int8` stores a float `X` of two or more dimensions as int8 in -127..127, and `X.scale` in
    bf16 with one number for each row (dimension 0): X ≈ int8 · scale, off by at most half a scale. A bf16 scale takes
    half the bytes of an fp32 one and has its range; its rounding costs the largest weight of a row at most a quarter
    of a step. Floats of one dimension, or of one row (tokens and positions of a ViT, whose values a single scale would
    have to cover), are bf16. Raises DivergenceError for a weight that is not
    finite.

    >>> weights = {"weight": torch.tensor([[1.0, -0.5], [0.0, 0.25]])}
    >>> unpack(pack(weights, "int8"), "example")["weight"].shape
    torch.Size([2, 2])
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        tensor = tensor.detach().cpu()
        if not tensor.is_floating_point():
            stored[name] = tensor
            continue
        if not tensor.isfinite().all():
            raise DivergenceError(
                f"weight {name} is not finite and cannot be stored; train again at a lower learning rate"
            )
        if precision == "fp32" or name.endswith(_STATISTICS):
            stored[name] = tensor.float()
        elif precision == "bf16" or tensor.dim() < 2 or len(tensor) < 2 or not tensor.numel():
            stored[name] = tensor.bfloat16()
        else:
            stored[name], stored[name + _SCALE] = _quantize(tensor.float())
    # Clones: safetensors refuses tensors that share memory.
    stored = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in stored.items()}
    return save(stored, {_KEY: json.dumps({"version": VERSION, "precision": precision})})


def unpack(data: bytes, name: str) -> dict[str, Tensor]:
    """Return a state dict from the bytes of a safetensors file, floats in fp32.

    Quantized weights are restored in files that `pack` wrote; `name` is what errors call the file. Raises BundleError
    for a pickle and anything else that is not safetensors (no other format is tried), and for a tensor that holds NaN.
    """
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError) as err:
        if data.startswith(_PICKLE_PREFIXES):
            raise BundleError(
                f"{name} is a pickle, which can run any code and is not loaded; "
                "if you trust it, write its state dict with safetensors.torch.save_file"
            ) from None
        raise BundleError(f"{name} is not a safetensors file: {' '.join(str(err).split())}") from None
    about = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    if _KEY in about:
        try:
            version = json.loads(about[_KEY])["version"]
        except (ValueError, KeyError, TypeError):
            raise BundleError(f"{name} is damaged: its metadata cannot be read; write it again") from None
        if version != VERSION:
            raise BundleError(
                f"{name} has format version {version}, this raysplit reads {VERSION}; use the raysplit that wrote "
                "it, or write it again"
            )
        _dequantize(tensors, name)
    for key, tensor in tensors.items():
        if holds_nan(tensor):
            raise BundleError(
                f"{key} in {name} holds NaN: it comes from a training that diverged; use other weights, or train again "
                "at a lower learning rate"
            )
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}


def _quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 like `weight` (rows, …) and the bf16 scale (rows,)."""
    scale = (weight.abs().flatten(1).amax(1) / _INT8_MAX).bfloat16()
    steps = weight / _broadcast_rows(scale.float(), weight)
    # A row of zeros has scale 0.
    return steps.nan_to_num(0.0).round().clamp(-_INT8_MAX, _INT8_MAX).to(torch.int8), scale


def _dequantize(tensors: dict[str, Tensor], name: str) -> None:
    """Replace int8 weights and their scales by float weights, in place."""
    for key in [key for key in tensors if key + _SCALE in tensors]:
        scale, weight = tensors.pop(key + _SCALE), tensors[key]
        if scale.shape != weight.shape[:1]:
            raise BundleError(f"{name} is damaged: {key} and its scale differ in rows; write it again")
        tensors[key] = weight.float() * _broadcast_rows(scale.float(), weight)


def _broadcast_rows(scale: Tensor, weight: Tensor) -> Tensor:
    return scale.view(-1, *[1] * (weight.dim() - 1))
