"""Build modules without memory for their weights, and fill in those that are wanted, as if all had been built.

The idea is torchdistX's `deferred_init`: while a program builds a module, its operations are logged and its tensors
stay on the meta device. Here the random numbers are those of a direct run even where only some weights are filled in.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from raysplit.torch_utils.op_log import Operation, OpLog, ReplayError, TensorRef

_SMALL = 2**12
"""Values of constants, such as `linspace` for a schedule of drop rates, that are computed at once."""
_CPU, _META = torch.device("cpu"), torch.device("meta")
_BLANKS = ("empty", "zeros", "ones", "full", "new_", "_like")
"""Parts of the names of factories whose results programs fill in afterwards."""
_HIDDEN_WRITES = ("native_batch_norm", "_batch_norm")
"""Parts of the names of operations that write into arguments that their schema does not mark."""
_POSED: dict[Any, Any] = {
    Tensor.device.__get__: _CPU,  # type: ignore[attr-defined]
    Tensor.is_meta.__get__: False,  # type: ignore[attr-defined]
    Tensor.is_cpu.__get__: True,  # type: ignore[attr-defined]
}
_READS = (Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__)


class DeferredInit:
    """Logs what a program computes in `with` blocks, and gives some of its tensors their values later.

    In the blocks torch's CPU generator starts at `seed`; outside it is as it was. Tensors pose as tensors on the CPU,
    and values that the program looks at are computed for it. Raises ReplayError, or whatever an operation on the meta
    device raises, where a program does something whose values could not be given later: tensors of other devices,
    generators of its own, large tensors from files.

    >>> import torch
    >>> from torch import nn
    >>> deferred = DeferredInit(seed=0)
    >>> with deferred:
    ...     model = nn.Sequential(nn.Linear(1000, 1000), nn.Linear(1000, 2))
    >>> model[1].weight.is_meta
    True
    >>> deferred.materialize([model], leave=model[0].parameters())
    >>> model[0].weight.is_meta, model[1].weight.is_meta
    (True, False)
    >>> _ = torch.manual_seed(0)
    >>> nn.Sequential(nn.Linear(1000, 1000), nn.Linear(1000, 2))[1].weight.equal(model[1].weight)
    True
    """

    def __init__(self, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self._log = OpLog(generator.get_state())
        self._state = generator.get_state()
        """What the program finds in torch's generator: it takes one step for each random operation, drawn later."""
        self._passed: set[bytes] = set()
        self._outer = self._state
        self._paused = False
        self._numbers: dict[int, int] = {}
        self._storages: list[StorageWeakRef] = []
        self._alive: list[weakref.ref[Tensor]] = []
        self._modes: tuple[_Posing, _Logging] = (_Posing(self), _Logging(self))

    def __enter__(self) -> DeferredInit:
        self._outer = torch.get_rng_state()
        torch.set_rng_state(self._state)
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(kind, err, trace)
        # Where the program left its generator is where the next block finds it.
        self._state = torch.get_rng_state()
        torch.set_rng_state(self._outer)

    def materialize(self, roots: Iterable[nn.Module] = (), leave: Iterable[Tensor] = ()) -> None:
        """Give every tensor that is still in use its values, but those that share a storage with one of `leave`.

        `roots` are modules that hold tensors; a program may hold more, in a cache of its own. Raises ReplayError where
        that cannot be done.
        """
        tensors = [tensor for root in roots for tensor in held_tensors(root)]
        left = {self._number(tensor) for tensor in leave if tensor.is_meta}
        self._fill(tensors, left, strict=True)

    def release(self) -> None:
        """Give the tensors that a program still holds, in a cache say, their values, as far as they are known.

        To call when the program has failed: else it would meet tensors without values when it runs again.
        """
        gc.collect()
        self._fill([], set(), strict=False)

    def _fill(self, tensors: list[Tensor], left: set[int], strict: bool) -> None:
        tensors += [tensor for tensor in (ref() for ref in self._alive) if tensor is not None]
        self._alive.clear()
        pending = [(t, TensorRef.of(t, self._number(t))) for t in {id(t): t for t in tensors}.values() if t.is_meta]
        tensors.clear()
        pending = [(tensor, ref) for tensor, ref in pending if ref.storage not in left]
        wanted = {ref.storage for _, ref in pending}
        if strict:
            if any(not tensor.is_leaf for tensor, _ in pending):
                raise ReplayError("a tensor that was computed from parameters, with a gradient")
            self._check_alive(wanted | left)
        storages = self._log.replay(wanted)
        # The base of a view is free to change once its views have changed.
        pending.sort(key=lambda pair: pair[0]._is_view())
        while pending:
            tensor, ref = pending.pop()
            _set_values(tensor, ref.on(storages[ref.storage]))

    def _check_alive(self, known: set[int]) -> None:
        """Raise ReplayError when a storage is in use by a tensor that is not known."""
        for collected in (False, True):
            unknown = [n for n, ref in enumerate(self._storages) if n not in known and not ref.expired()]
            if not unknown:
                return
            if not collected:
                gc.collect()
        raise ReplayError("a tensor that is held outside of the module")

    def read(self, tensor: Tensor) -> Tensor:
        """Return the tensor with the values that it has now."""
        ref = TensorRef.of(tensor, self._number(tensor))
        self._paused = True
        try:
            return ref.on(self._log.replay([ref.storage], again=True)[ref.storage])
        finally:
            self._paused = False

    def call(self, function: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute a constant, or log an operation and return its results without values."""
        if self._paused:
            return function(*args, **kwargs)
        given = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
        deferred = _device(kwargs) == _META or any(tensor.is_meta for tensor in given)
        writes = function._schema.is_mutable
        random = torch.Tag.nondeterministic_seeded in function.tags
        if function.is_view:
            result = function(*args, **kwargs)
            self._track(result)
            return result
        if not deferred and not random and (writes or _is_constant(function, args, kwargs)):
            return function(*args, **kwargs)
        return self._defer(function, args, kwargs, random)

    def _defer(
        self, function: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], random: bool
    ) -> Any:
        leaves = tree_flatten((args, kwargs))[0]
        if any(isinstance(leaf, torch.Generator) for leaf in leaves):
            raise ReplayError("random numbers from a generator of its own")
        logged_args, logged_kwargs = tree_map(self._reference, (args, kwargs))
        if _device(kwargs) == _META:  # as that of a tensor without values, from within torch
            logged_kwargs["device"] = _CPU
        written = self._written(function, args, kwargs)
        result = _on_meta(function, args, kwargs)
        operation = Operation(function, logged_args, logged_kwargs, (), frozenset())
        if random:
            operation.seed_state = self._step_generator()
        new = []
        for position, tensor in enumerate(leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)):
            key = tensor.untyped_storage()._cdata
            if key not in self._numbers:
                self._numbers[key] = len(self._storages)
                self._storages.append(StorageWeakRef(tensor.untyped_storage()))
                new.append((position, TensorRef.of(tensor, self._numbers[key])))
        operation.results = tuple(new)
        operation.written = frozenset({*written, *(ref.storage for _, ref in new)})
        if new and any(argument.name == "dtype" for argument in function._schema.arguments):
            # Or the default dtype of the moment would decide.
            logged_kwargs["dtype"] = new[0][1].dtype
        self._log.append(operation)
        self._track(result)
        return result

    def _track(self, result: Any) -> None:
        leaves = tree_flatten(result)[0]
        self._alive += [weakref.ref(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_meta]

    def _number(self, tensor: Tensor) -> int:
        number = self._numbers.get(tensor.untyped_storage()._cdata)
        if number is None:
            raise ReplayError("a tensor on the meta device that was made elsewhere")
        return number

    def _reference(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if leaf.is_meta:
            return TensorRef.of(leaf, self._number(leaf))
        if leaf.device != _CPU or leaf.numel() > _SMALL:
            raise ReplayError(f"a tensor of {leaf.numel()} values that it did not compute itself")
        return leaf.detach().clone()  # it may change before the log is run

    def _written(self, function: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> set[int]:
        """Return the storages that a call writes into; ReplayError where one of them has values already."""
        hidden = any(part in function._schema.name for part in _HIDDEN_WRITES)
        written = set()
        for index, argument in enumerate(function._schema.arguments):
            if hidden or (argument.alias_info is not None and argument.alias_info.is_write):
                value = args[index] if index < len(args) else kwargs.get(argument.name)
                tensors = [leaf for leaf in tree_flatten(value)[0] if isinstance(leaf, Tensor)]
                if any(not tensor.is_meta for tensor in tensors):
                    raise ReplayError(f"{function} writes into a constant")
                written |= {self._number(tensor) for tensor in tensors}
        return written

    def _step_generator(self) -> Tensor | None:
        """Note a random operation; return the generator's state where the program has set it since the last one."""
        state = torch.get_rng_state()
        set_anew = not state.equal(self._state)
        if set_anew and bytes(state.numpy()) in self._passed:
            raise ReplayError("the generator's state was put back")
        torch.empty(1).uniform_()
        self._state = torch.get_rng_state()
        self._passed.add(bytes(self._state.numpy()))
        return state if set_anew else None


class _Posing(TorchFunctionMode):
    """Answers as for tensors on the CPU what a program asks of tensors that have no values yet."""

    def __init__(self, deferred: DeferredInit):
        super().__init__()
        self._deferred = weakref.proxy(deferred)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and isinstance(args[0], Tensor) and args[0].is_meta:
            if func in _POSED:
                return _POSED[func]
            if func in _READS:
                return func(self._deferred.read(args[0]), *args[1:], **(kwargs or {}))
        if any(
            isinstance(leaf, torch.device | str) and str(leaf) == "meta" for leaf in (*args, *(kwargs or {}).values())
        ):
            raise ReplayError("a tensor on the meta device")
        return func(*args, **(kwargs or {}))


class _Logging(TorchDispatchMode):
    def __init__(self, deferred: DeferredInit):
        super().__init__()
        self._deferred = weakref.proxy(deferred)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            return self._deferred.call(func, args, kwargs or {})


def held_tensors(root: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors of a module: parameters, buffers, and what its attributes and their containers hold."""
    for module in root.modules():
        held = {name: value for name, value in vars(module).items() if name != "_modules"}
        yield from (leaf for leaf in tree_flatten(held)[0] if isinstance(leaf, Tensor))


def _is_constant(function: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether an operation on constants is computed at once: its results are small, and not to be filled in."""
    if any(part in function._schema.name for part in _BLANKS):
        return False
    try:
        result = _on_meta(function, args, kwargs)
    except (RuntimeError, NotImplementedError):
        return True  # its shape depends on values, which there are
    return sum(leaf.numel() for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)) <= _SMALL


def _device(kwargs: dict[str, Any]) -> torch.device:
    return torch.device(kwargs.get("device") or "cpu")


def _on_meta(function: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if _device(kwargs) not in (_CPU, _META):
        raise ReplayError(f"a tensor on {kwargs['device']}")
    args, kwargs = tree_map(lambda leaf: leaf.to(_META) if isinstance(leaf, Tensor) else leaf, (args, kwargs))
    if any(argument.name == "device" for argument in function._schema.arguments):
        kwargs = {**kwargs, "device": _META}
    kwargs.pop("pin_memory", None)
    return function(*args, **kwargs)


def _set_values(tensor: Tensor, values: Tensor) -> None:
    """Put values into a tensor without them; whoever holds it sees them."""
    filled = torch.Tensor._make_subclass(type(tensor), values, tensor.requires_grad)
    vars(filled).update(vars(tensor))
    del values
    torch.utils.swap_tensors(tensor, filled)
