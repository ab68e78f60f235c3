"""All levels of a half in one module: what levels have in common is in memory once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Half = TypeVar("Half", bound=nn.Module)


class SharedLevels(Generic[Half]):
    """One module, and the weights of each level; tensors that are equal, at whatever level, are stored once.

    The module's structure, its compiled graphs and the buffers outside of its state dict serve all levels. For
    inference, by one thread at a time: the module has the weights of the level that was last asked for.

    Args:
        half: the module; its weights are replaced, and may be on the meta device.
        device: where it computes.
        channels_last: whether four-dimensional weights are stored with their channels last.

    >>> from torch import nn
    >>> levels = SharedLevels(nn.Linear(1, 1), torch.device("cpu"), channels_last=False)
    >>> levels.add("all·b8/b8", {"weight": torch.tensor([[2.0]]), "bias": torch.tensor([0.5])})
    >>> levels.add("c4·b4/b4", {"weight": torch.tensor([[3.0]]), "bias": torch.tensor([0.5])})
    >>> [levels.at(name)(torch.ones(1)).item() for name in levels.names]
    [2.5, 3.5]
    """

    def __init__(self, half: Half, device: torch.device, channels_last: bool):
        self._half, self._device = half, device
        self._format = torch.channels_last if channels_last else torch.preserve_format
        self._stored: dict[bytes, Tensor] = {}
        self._levels: dict[str, list[tuple[nn.Module, str, Tensor]]] = {}
        """For each level: every module's tensors under their names."""
        self._current: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The levels, in the order in which they were added."""
        return tuple(self._levels)

    def add(self, level: str, state: Mapping[str, Tensor]) -> None:
        """Add a level by its state dict; raises what `load_state_dict` raises for one that does not fit."""
        self._current = None
        self._half.load_state_dict(state, assign=True)
        self._levels[level] = [(module, name, self._store(tensor)) for module, name, tensor in _slots(self._half)]

    def at(self, level: str) -> Half:
        """Return the module with the weights of a level, which it has until the next call; KeyError for another."""
        if level != self._current:
            self._current = None
            for module, name, tensor in self._levels[level]:
                setattr(module, name, tensor)
            self._current = level
        return self._half

    def _store(self, tensor: Tensor) -> Tensor:
        """Return the stored tensor of the same values: on the device, and a parameter where `tensor` is one."""
        key = _digest(tensor)
        if key not in self._stored:
            memory_format = self._format if tensor.ndim == 4 else torch.preserve_format
            self._stored[key] = tensor.detach().to(self._device, memory_format=memory_format)
        values = self._stored[key]
        return nn.Parameter(values, requires_grad=False) if isinstance(tensor, nn.Parameter) else values


def _slots(half: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in half.modules():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            yield module, name, tensor


def _digest(tensor: Tensor) -> bytes:
    values = tensor.detach().cpu().contiguous().flatten()
    head = f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    return hashlib.sha256(head + values.view(torch.uint8).numpy().tobytes()).digest()
