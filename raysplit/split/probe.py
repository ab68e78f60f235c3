"""Run graphs on meta tensors: all shapes, aliases and in-place writes of a model, without computing anything."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from raysplit.torch_utils.layout import find_order


def copy_to_meta(model: nn.Module) -> nn.Module:
    """Return a deep copy of `model` whose tensors are on the meta device; no data is copied."""
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


def find_tensors(value: Any) -> list[Tensor]:
    """Return the tensors in a value of a graph, which may be a tensor, a container or anything else.

    >>> import torch
    >>> [tensor.numel() for tensor in find_tensors({"x": [torch.zeros(2), (torch.zeros(3), 4)]})]
    [2, 3]
    """
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [t for v in value for t in find_tensors(v)] if isinstance(value, tuple | list) else []


def storage_bytes(value: Any) -> dict[int, int]:
    """Return the bytes of each storage behind a value, by its identity. Views of one tensor share one storage."""
    storages = (t.untyped_storage() for t in find_tensors(value))
    return {s._cdata: s.nbytes() for s in storages}


class _DrawDetector(TorchDispatchMode):
    """Notices operations that draw random numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.drew = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.drew |= torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


_BATCH_NORMS: dict[type[nn.Module], tuple[int, ...]] = {
    nn.BatchNorm1d: (2, 3),
    nn.BatchNorm2d: (4,),
    nn.BatchNorm3d: (5,),
}
"""The dimensions that inputs of each class have."""


def is_plain_batch_norm(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a call is a batch norm's that gives a tensor like its input.

    On the meta device torch computes one step by step in Python: two thirds of the time to trace a ResNet-50.
    """
    hooks = module._forward_hooks or module._forward_pre_hooks
    if type(module) not in _BATCH_NORMS or hooks or kwargs or len(args) != 1 or not isinstance(args[0], Tensor):
        return False
    return args[0].ndim in _BATCH_NORMS[type(module)] and args[0].shape[1] == module.num_features


_CHANNELS_LAST = (0, 2, 3, 1)


class Probe(fx.Interpreter):
    """Runs a graph on a meta copy of its model and keeps all values, so that no storage is used twice."""

    def __init__(self, model: nn.Module, graph: fx.Graph):
        super().__init__(model, garbage_collect_values=False, graph=graph)
        self.extra_traceback = False
        self.written: dict[fx.Node, set[int]] = {}
        """Storages that each node writes into in place."""
        self.random: set[fx.Node] = set()
        """Nodes that draw random numbers."""

    def __call__(self, shape: tuple[int, int, int], batch: int) -> dict[fx.Node, Any]:
        """Run on a batch of images of `shape` (C, H, W) and return the value of every node."""
        with on_meta():
            self.run(torch.empty(batch, *shape))
        return self.env

    def run_node(self, n: fx.Node) -> Any:
        inputs = [(t, t._version) for node in n.all_input_nodes for t in find_tensors(self.env[node])]
        with _DrawDetector() as detector:
            value = super().run_node(n)
        if detector.drew:
            self.random.add(n)
        self.written[n] = {key for t, version in inputs if t._version != version for key in storage_bytes(t)}
        return value

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.fetch_attr(target)
        if is_plain_batch_norm(module, args, kwargs):
            return torch.empty_like(args[0])
        value = super().call_module(target, args, kwargs)
        # Convolutions keep a layout with the channels last everywhere but on the meta device.
        if isinstance(module, nn.Conv2d) and find_order(args[0]) == _CHANNELS_LAST and isinstance(value, Tensor):
            return value.contiguous(memory_format=torch.channels_last)
        return value

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        return value.to("meta") if isinstance(value, Tensor) else value
