"""Log operations on tensors without values, and compute those on small constants at once."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_flatten, tree_map

from raysplit.torch_utils.op_log import Operation, OpLog, ReplayError, TensorRef

_SMALL = 2**12
"""Values of the largest constants, such as a `linspace` of drop rates, that are computed at once."""
_CPU, _META = torch.device("cpu"), torch.device("meta")
_BLANKS = ("empty", "zeros", "ones", "full", "new_", "_like")
"""Parts of the names of factories for tensors that programs fill in afterwards."""
_HIDDEN_WRITES = "batch_norm"
"""Part of the names of operations that write into arguments although their schema does not say so."""
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class OpRecorder:
    """Runs operations on the meta device and logs them; tensors are known by the numbers of their storages."""

    def __init__(self, seed: int):
        self._state = torch.Generator().manual_seed(seed).get_state()
        """What the program finds in torch's generator; each random operation, drawn later, takes one step in it."""
        self._expected = self._state
        """The state after the last of these steps: it is another one where the program has set it."""
        self.log = OpLog(self._state)
        self._stepped: set[bytes] = set()
        self._reading = False
        self._numbers: dict[int, int] = {}
        self._storages: list[StorageWeakRef] = []
        self._alive: list[weakref.ref[Tensor]] = []

    @contextmanager
    def generator(self) -> Iterator[None]:
        """Run a block with torch's generator where the last block left it, and leave the caller's as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._state)
            yield
            self._state = torch.get_rng_state()

    def call(self, function: torch._ops.OpOverload, args: Args, kwargs: Kwargs) -> Any:
        """Compute a constant, or log an operation and return its results without values."""
        if self._reading:
            return function(*args, **kwargs)
        if function.is_view:
            return self._track(function(*args, **kwargs))
        deferred = _device(kwargs) == _META or any(tensor.is_meta for tensor in _tensors((args, kwargs)))
        random = torch.Tag.nondeterministic_seeded in function.tags
        if not deferred and not random and (function._schema.is_mutable or _is_constant(function, args, kwargs)):
            return function(*args, **kwargs)
        return self._track(self._record(function, args, kwargs, random))

    def read(self, tensor: Tensor) -> Tensor:
        """Return the tensor with the values that it has now."""
        ref = self.reference(tensor)
        self._reading = True
        try:
            return ref.on(self.log.replay({ref.storage}, again=True)[ref.storage])
        finally:
            self._reading = False

    def number(self, tensor: Tensor) -> int:
        """Return the number of a tensor's storage; ReplayError for one that no operation here has made."""
        number = self._numbers.get(tensor.untyped_storage()._cdata)
        if number is None:
            raise ReplayError("it holds a tensor without values that was made elsewhere")
        return number

    def reference(self, tensor: Tensor) -> TensorRef:
        return TensorRef.of(tensor, self.number(tensor))

    def storages_in_use(self) -> set[int]:
        """Return the numbers of the storages that some tensor still uses."""
        return {number for number, storage in enumerate(self._storages) if not storage.expired()}

    def take_alive(self) -> list[Tensor]:
        """Return the results that are still in use, and forget them."""
        alive = [tensor for tensor in (ref() for ref in self._alive) if tensor is not None]
        self._alive.clear()  # tensors with weak references cannot be swapped
        return alive

    def _track(self, result: Any) -> Any:
        self._alive += [weakref.ref(tensor) for tensor in _tensors(result) if tensor.is_meta]
        return result

    def _record(self, function: torch._ops.OpOverload, args: Args, kwargs: Kwargs, random: bool) -> Any:
        if any(isinstance(leaf, torch.Generator) for leaf in tree_flatten((args, kwargs))[0]):
            raise ReplayError("it draws from a generator of its own")
        logged_args, logged_kwargs = tree_map(self._freeze, (args, kwargs))
        written = self._find_written(function, args, kwargs)
        result = _run_on_meta(function, args, kwargs)
        new = self._number_new(result)
        if _device(kwargs) == _META:  # taken over, within torch, from a tensor without values
            logged_kwargs["device"] = _CPU
        if new and any(argument.name == "dtype" for argument in function._schema.arguments):
            logged_kwargs["dtype"] = new[0][1].dtype  # or torch's default at the time of the replay would count
        set_state = self._step_generator() if random else None
        written |= {ref.storage for _, ref in new}
        self.log.append(Operation(function, logged_args, logged_kwargs, new, frozenset(written), set_state))
        return result

    def _number_new(self, result: Any) -> tuple[tuple[int, TensorRef], ...]:
        """Number new storages of an operation's results; return those results with their positions."""
        new = []
        for position, tensor in enumerate(_tensors(result)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._numbers:
                self._numbers[storage._cdata] = len(self._storages)
                self._storages.append(StorageWeakRef(storage))  # keeps its identity from being used again
                new.append((position, self.reference(tensor)))
        return tuple(new)

    def _freeze(self, leaf: Any) -> Any:
        """Return an argument for the log: a reference to a tensor without values, a copy of a constant."""
        if not isinstance(leaf, Tensor):
            return leaf
        if leaf.is_meta:
            return self.reference(leaf)
        if leaf.device != _CPU or leaf.numel() > _SMALL:
            raise ReplayError(f"it uses a tensor of {leaf.numel()} values on {leaf.device} that it has not computed")
        return leaf.detach().clone()

    def _find_written(self, function: torch._ops.OpOverload, args: Args, kwargs: Kwargs) -> set[int]:
        """Return the storages that a call writes into; ReplayError where one of them has values already."""
        written = set()
        for index, argument in enumerate(function._schema.arguments):
            marked = argument.alias_info is not None and argument.alias_info.is_write
            if marked or _HIDDEN_WRITES in function._schema.name:
                tensors = _tensors(args[index] if index < len(args) else kwargs.get(argument.name))
                if any(not tensor.is_meta for tensor in tensors):
                    raise ReplayError(f"it writes into a constant with {function}")
                written |= {self.number(tensor) for tensor in tensors}
        return written

    def _step_generator(self) -> Tensor | None:
        """Note a random operation; return the generator's state if the program has set it since the last one."""
        state = torch.get_rng_state()
        was_set = not state.equal(self._expected)
        if was_set and bytes(state.numpy()) in self._stepped:
            raise ReplayError("it puts the state of torch's generator back")
        torch.empty(1).uniform_()
        self._expected = torch.get_rng_state()
        self._stepped.add(bytes(self._expected.numpy()))
        return state if was_set else None


def _is_constant(function: torch._ops.OpOverload, args: Args, kwargs: Kwargs) -> bool:
    """Return whether an operation on constants gives small constants, which the program will not fill in."""
    if any(part in function._schema.name for part in _BLANKS):
        return False
    try:
        result = _run_on_meta(function, args, kwargs)
    except RuntimeError:
        return True  # its shape depends on values
    return sum(tensor.numel() for tensor in _tensors(result)) <= _SMALL


def _run_on_meta(function: torch._ops.OpOverload, args: Args, kwargs: Kwargs) -> Any:
    if _device(kwargs) not in (_CPU, _META):
        raise ReplayError(f"it makes a tensor on {kwargs['device']}")
    args, kwargs = tree_map(lambda leaf: leaf.to(_META) if isinstance(leaf, Tensor) else leaf, (args, kwargs))
    if any(argument.name == "device" for argument in function._schema.arguments):
        kwargs = kwargs | {"device": _META}
    kwargs.pop("pin_memory", None)
    return function(*args, **kwargs)


def _device(kwargs: Kwargs) -> torch.device:
    return torch.device(kwargs.get("device") or "cpu")


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(value)[0] if isinstance(leaf, Tensor)]
