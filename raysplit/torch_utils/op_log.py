"""A log of operations on tensors that have no values yet, and its replay for some of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from raysplit.torch_utils.skip_draws import DrawSkipper


class ReplayError(Exception):
    """The log does not determine the values that a direct run would have given."""


@dataclass(frozen=True)
class TensorRef:
    """Where a tensor lies in a storage, which has a number in the log."""

    storage: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype

    @staticmethod
    def of(tensor: Tensor, storage: int) -> TensorRef:
        if tensor.layout is not torch.strided or tensor.is_conj() or tensor.is_neg():
            raise ReplayError(f"it holds a tensor of layout {tensor.layout}, or one with a lazy conjugation")
        return TensorRef(storage, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()), tensor.dtype)

    def on(self, storage: torch.UntypedStorage) -> Tensor:
        """Return the tensor on a storage that holds values."""
        return torch.empty(0, dtype=self.dtype).set_(storage, self.offset, self.size, self.stride)

    @property
    def contiguous(self) -> bool:
        expected = 1
        for size, stride in zip(reversed(self.size), reversed(self.stride), strict=True):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True


@dataclass
class Operation:
    """One call of an ATen operation."""

    function: torch._ops.OpOverload
    args: tuple[Any, ...]
    """With a TensorRef in place of each tensor without values."""
    kwargs: dict[str, Any]
    results: tuple[tuple[int, TensorRef], ...]
    """Results in new storages, with their positions among all tensors that it returns."""
    written: frozenset[int]
    """Storages that it creates or writes into."""
    set_state: Tensor | None = None
    """The state of the generator, if the program has set it since the last random operation."""
    state: Tensor | None = None
    """The state of the generator before the operation, if a replay that went past it was asked to keep it."""

    @cached_property
    def random(self) -> bool:
        return torch.Tag.nondeterministic_seeded in self.function.tags

    @cached_property
    def touched(self) -> frozenset[int]:
        """Storages that it reads, creates or writes into."""
        leaves = tree_flatten((self.args, self.kwargs))[0]
        return self.written | {leaf.storage for leaf in leaves if isinstance(leaf, TensorRef)}

    @property
    def filled(self) -> TensorRef | None:
        """The tensor that a random operation fills; None if there are several."""
        first = self.args[0] if self.args else None
        if isinstance(first, TensorRef):
            return first
        return self.results[0][1] if len(self.results) == 1 else None

    @cached_property
    def skippable(self) -> bool:
        """Whether the draws of a random operation can be skipped without running it."""
        filled = self.filled
        return filled is not None and DrawSkipper.can_skip(self.function, filled.dtype, filled.contiguous)

    def skip(self, skipper: DrawSkipper) -> None:
        """Leave the generator as `run` would; for operations that are `skippable`."""
        filled = self.filled
        assert filled is not None
        arguments = self.args[1:] if isinstance(self.args[0], TensorRef) else ()
        skipper.skip(self.function, filled.size, filled.dtype, arguments)

    def run(self, storages: dict[int, torch.UntypedStorage]) -> None:
        """Run on storages with values, and add the storages that it creates."""

        def value(leaf: Any) -> Any:
            return leaf.on(storages[leaf.storage]) if isinstance(leaf, TensorRef) else leaf

        returned = self.function(*tree_map(value, self.args), **tree_map(value, self.kwargs))
        tensors = [leaf for leaf in tree_flatten(returned)[0] if isinstance(leaf, Tensor)]
        for position, expected in self.results:
            tensor = tensors[position]
            if TensorRef.of(tensor, expected.storage) != expected:
                raise ReplayError(f"{self.function} returns another layout on the CPU than on the meta device")
            storages[expected.storage] = tensor.untyped_storage()


class OpLog:
    """Operations in order, and the state of the CPU generator up to where they were replayed."""

    def __init__(self, state: Tensor):
        self.operations: list[Operation] = []
        self._state, self._position = state, 0

    def append(self, operation: Operation) -> None:
        self.operations.append(operation)

    def replay(self, wanted: Iterable[int], again: bool = False) -> dict[int, torch.UntypedStorage]:
        """Return the wanted storages with the values that they have after all operations so far.

        Operations on which they do not depend are not run, but their random numbers are skipped. `again` keeps the
        generator's states that later replays of the same operations need. Raises ReplayError where values could differ
        from those of a direct run.
        """
        keep = set(wanted)
        needed, last_use = self._needed(keep)
        storages: dict[int, torch.UntypedStorage] = {}
        skipper = DrawSkipper()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.set_rng_state(self._state)
            for index, operation in enumerate(self.operations):
                if operation.random and index >= self._position:
                    if operation.set_state is not None:
                        torch.set_rng_state(operation.set_state)
                    if again:
                        operation.state = torch.get_rng_state()
                if index in needed:
                    self._run(operation, index, storages)
                    for key in [key for key in operation.touched - keep if last_use[key] == index]:
                        storages.pop(key, None)
                elif operation.random and index >= self._position:
                    operation.skip(skipper)
            self._state, self._position = torch.get_rng_state(), len(self.operations)
        return storages

    def _needed(self, wanted: set[int]) -> tuple[set[int], dict[int, int]]:
        """Return the operations to run, and for each storage the last of them that touches it."""
        storages, operations = set(wanted), set()
        last_use: dict[int, int] = {}
        for index in range(len(self.operations) - 1, -1, -1):
            operation = self.operations[index]
            draws = operation.random and index >= self._position and not operation.skippable
            if draws or not operation.written.isdisjoint(storages):
                operations.add(index)
                storages |= operation.touched
                for key in operation.touched:
                    last_use.setdefault(key, index)
        return operations, last_use

    def _run(self, operation: Operation, index: int, storages: dict[int, torch.UntypedStorage]) -> None:
        if not operation.random or index >= self._position:
            operation.run(storages)
            return
        if operation.state is None:
            raise ReplayError("random numbers that were drawn before are needed again")
        state = torch.get_rng_state()
        torch.set_rng_state(operation.state)
        operation.run(storages)
        torch.set_rng_state(state)
