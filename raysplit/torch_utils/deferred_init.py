"""Build modules without memory for their weights, then fill in those that are wanted, as if all had been built.

The idea is torchdistX's `deferred_init`: while a program builds a module, its tensors are on the meta device and its
operations are logged. Here the random numbers are those of a direct run even where only some weights are filled in.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from raysplit.torch_utils.op_log import ReplayError, TensorRef
from raysplit.torch_utils.op_recorder import OpRecorder

_PRETENDED = {
    Tensor.device.__get__: torch.device("cpu"),
    Tensor.is_meta.__get__: False,  # type: ignore[attr-defined]
    Tensor.is_cpu.__get__: True,  # type: ignore[attr-defined]
}
"""Attributes of a tensor without values, as a program is told them."""
_READS = (Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__)


class DeferredInit:
    """Logs what a program computes in `with` blocks, and gives some of its tensors their values later.

    In the blocks torch's CPU generator starts at `seed`; outside them it is left as it was. Tensors pretend to be on
    the CPU, and values that the program looks at are computed for it. Where a program does something whose values
    could not be given later (tensors on other devices, generators of its own, large tensors from files), ReplayError
    or whatever an operation raises on the meta device leaves the block.

    >>> import torch
    >>> from torch import nn
    >>> def build():
    ...     return nn.Sequential(nn.Linear(500, 500), nn.Linear(500, 2))
    >>> deferred = DeferredInit(seed=0)
    >>> with deferred:
    ...     model = build()
    >>> deferred.materialize([model], leave=model[0].parameters())
    >>> model[0].weight.is_meta, model[1].weight.is_meta
    (True, False)
    >>> _ = torch.manual_seed(0)
    >>> build()[1].weight.equal(model[1].weight)
    True
    """

    def __init__(self, seed: int):
        self._recorder = OpRecorder(seed)
        self._blocks = ExitStack()

    def __enter__(self) -> DeferredInit:
        self._blocks.enter_context(self._recorder.generator())
        self._blocks.enter_context(_Pretence(self._recorder))
        self._blocks.enter_context(_Interception(self._recorder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks.close()

    def materialize(self, roots: Iterable[nn.Module] = (), leave: Iterable[Tensor] = ()) -> None:
        """Give every tensor that is still in use its values, except those that share a storage with one of `leave`.

        `roots` are modules that hold tensors; the program may hold more, in a cache for example. Raises ReplayError
        where that cannot be done.
        """
        tensors = [tensor for root in roots for tensor in held_tensors(root)]
        left = {self._recorder.number(tensor) for tensor in leave if tensor.is_meta}
        pending = [(tensor, ref) for tensor, ref in self._pending(tensors) if ref.storage not in left]
        del tensors
        wanted = {ref.storage for _, ref in pending}
        if any(not tensor.is_leaf for tensor, _ in pending):
            raise ReplayError("it keeps a tensor that was computed from parameters, with a gradient")
        self._check_known(wanted | left)
        self._fill(pending)

    def release(self) -> None:
        """Give values to the tensors that a program still holds after it failed, as in a cache of its own.

        Otherwise it would find tensors without values there when it runs again.
        """
        gc.collect()
        self._fill(self._pending([]))

    def _pending(self, tensors: list[Tensor]) -> list[tuple[Tensor, TensorRef]]:
        """Return the tensors without values among `tensors` and among all results that are still in use."""
        distinct = {id(tensor): tensor for tensor in (*tensors, *self._recorder.take_alive())}
        return [(tensor, self._recorder.reference(tensor)) for tensor in distinct.values() if tensor.is_meta]

    def _check_known(self, numbers: set[int]) -> None:
        """Raise ReplayError when a tensor is in use that was not found."""
        if self._recorder.storages_in_use() <= numbers:
            return
        gc.collect()
        if not self._recorder.storages_in_use() <= numbers:
            raise ReplayError("it holds a tensor outside of its modules")

    def _fill(self, pending: list[tuple[Tensor, TensorRef]]) -> None:
        storages = self._recorder.log.replay({ref.storage for _, ref in pending})
        # While a view is in use its base cannot be swapped: views come first.
        pending.sort(key=lambda pair: pair[0]._is_view())
        while pending:
            tensor, ref = pending.pop()
            _set_values(tensor, ref.on(storages[ref.storage]))


class _Pretence(TorchFunctionMode):
    """Answers what a program asks about tensors without values as if they were on the CPU and had some."""

    def __init__(self, recorder: OpRecorder):
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if args and isinstance(args[0], Tensor) and args[0].is_meta:
            if func in _PRETENDED:
                return _PRETENDED[func]
            if func in _READS:
                return func(self._recorder.read(args[0]), *args[1:], **kwargs)
        if any(isinstance(leaf, torch.device | str) and str(leaf) == "meta" for leaf in (*args, *kwargs.values())):
            raise ReplayError("it uses the meta device itself")
        return func(*args, **kwargs)


class _Interception(TorchDispatchMode):
    """Hands every operation to the recorder."""

    def __init__(self, recorder: OpRecorder):
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            return self._recorder.call(func, args, kwargs or {})


def held_tensors(root: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors of a module: parameters, buffers, and those in its attributes and their containers.

    >>> from torch import nn
    >>> [tuple(tensor.shape) for tensor in held_tensors(nn.Linear(3, 2))]
    [(2, 3), (2,)]
    """
    for module in root.modules():
        attributes = {name: value for name, value in vars(module).items() if name != "_modules"}
        yield from (leaf for leaf in tree_flatten(attributes)[0] if isinstance(leaf, Tensor))


def _set_values(tensor: Tensor, values: Tensor) -> None:
    """Put values into a tensor without any; whoever holds the tensor sees them."""
    filled = torch.Tensor._make_subclass(type(tensor), values, tensor.requires_grad)
    vars(filled).update(vars(tensor))
    torch.utils.swap_tensors(tensor, filled)
