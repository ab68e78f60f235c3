"""Read a file of weights: safetensors, or what torch.save wrote of tensors and plain data. Reading never runs code."""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from raysplit.errors import ConfigError, ModelError

_WRAPPERS = ("state_dict", "model_state_dict", "state_dict_ema", "model_ema", "model")
"""Where training programs keep the state dict in a checkpoint, the first that is there."""
_PICKLE_PREFIXES = (b"PK\x03\x04", b"\x80")
"""How files of torch.save begin, now and before version 1.6."""


def find_weights_file(name: str, key: str = "model.weights") -> Path:
    """Return the path of a weights file; ConfigError, which names the setting `key`, for one that does not exist."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError(f"{key}: '{path}' is not a file here; name a .safetensors, .pth, .pt or .bin file")
    return path


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file; ModelError for a file that has none.

    Of a file of torch.save only tensors and plain data are read, memory-mapped.
    """
    if not _is_pickle(path):
        try:
            with safe_open(path, framework="pt") as stored:
                return {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        except SafetensorError as err:
            raise ModelError(
                f"'{path}' is neither a safetensors file nor one of torch.save ({_line(err)}); fetch it again"
            ) from None
    content = _load_pickle(path)
    tensors = {str(key): value for key, value in _unwrap(content).items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        raise ModelError(
            f"'{path}' holds no state dict, but {keys}; write one with torch.save(model.state_dict(), FILE)"
        )
    return tensors


def read_about(path: Path) -> Mapping[str, Any]:
    """Return what a file says about its weights: safetensors' metadata, or the entries beside the state dict."""
    if _is_pickle(path):
        content = _load_pickle(path)
        return content if isinstance(content, Mapping) else {}
    try:
        with safe_open(path, framework="pt") as stored:
            return {key: _parse(value) for key, value in (stored.metadata() or {}).items()}
    except SafetensorError:
        return {}


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4).startswith(_PICKLE_PREFIXES)


def _load_pickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as file:
            # Only files that are archives can be mapped; torch takes one of this suffix for safetensors.
            mapped = file.read(2) == b"PK" and path.suffix != ".safetensors"
            file.seek(0)
            return torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as err:
        raise ModelError(
            f"'{path}' holds more than tensors and plain data, which could run any code and is not loaded "
            f"({_line(err)}); if you trust it, write torch.save(model.state_dict(), FILE) where it comes from"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError) as err:
        raise ModelError(f"'{path}' is damaged ({_line(err)}); fetch it again") from None


def _unwrap(content: Any) -> Mapping[Any, Any]:
    """Return the state dict in a checkpoint."""
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return _unwrap(content[key])
    return content if isinstance(content, Mapping) else {}


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _line(err: Exception) -> str:
    return str(err).strip().partition("\n")[0][:200]
