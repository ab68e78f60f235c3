"""Run graphs on meta tensors: every shape, alias and in-place write of a model, without computing it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode


def meta_copy(model: nn.Module) -> nn.Module:
    """Return a deep copy of `model` whose tensors are on the meta device; their data is never copied."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values(), *vars(module).values()):
            if isinstance(tensor, nn.Parameter):
                memo[id(tensor)] = nn.Parameter(torch.empty_like(tensor, device="meta"), tensor.requires_grad)
            elif isinstance(tensor, Tensor):
                memo[id(tensor)] = torch.empty_like(tensor, device="meta")
    return copy.deepcopy(model, memo)


@contextmanager
def on_meta() -> Iterator[None]:
    """Compute on meta tensors with plain kernels.

    The fused attention kernels hide their matrix products from FlopCounterMode.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), torch.device("meta"), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def tensors(value: Any) -> list[Tensor]:
    """Return the tensors in a value of a graph: a tensor, a container of values, or anything else."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [t for v in value for t in tensors(v)] if isinstance(value, tuple | list) else []


def storages(value: Any) -> dict[int, int]:
    """Return the storages behind a value: identity to bytes. Views of one tensor share one storage."""
    found = (t.untyped_storage() for t in tensors(value))
    return {s._cdata: s.nbytes() for s in found}


class _Draws(TorchDispatchMode):
    """Notices an operation that draws random numbers."""

    seen = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen |= torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


class Probe(fx.Interpreter):
    """Runs a graph on a meta copy of its model and keeps every value (they hold their storages apart)."""

    def __init__(self, model: nn.Module, graph: fx.Graph):
        super().__init__(model, garbage_collect_values=False, graph=graph)
        self.extra_traceback = False
        self.written: dict[fx.Node, set[int]] = {}
        """Storages that each node writes in place."""
        self.random: set[fx.Node] = set()
        """Nodes that draw random numbers."""

    def __call__(self, shape: tuple[int, int, int], batch: int) -> dict[fx.Node, Any]:
        """Run on a batch of images of `shape` (C, H, W) and return the value of every node."""
        with on_meta():
            self.run(torch.empty(batch, *shape))
        return self.env

    def run_node(self, n: fx.Node) -> Any:
        given = [(t, t._version) for node in n.all_input_nodes for t in tensors(self.env[node])]
        with _Draws() as draws:
            value = super().run_node(n)
        if draws.seen:
            self.random.add(n)
        self.written[n] = {key for t, version in given if t._version != version for key in storages(t)}
        return value

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        return value.to("meta") if isinstance(value, Tensor) else value
