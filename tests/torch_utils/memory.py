"""How many bytes a program allocates for tensors on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class CountBytes(TorchDispatchMode):
    """Sums up the bytes of all storages on the CPU that operations make, scratch memory included."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if "set_" not in func.name():  # puts a tensor on a storage that there is
            given = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
            made = {t.untyped_storage()._cdata: t.untyped_storage() for t in _tensors(result) if t.device.type == "cpu"}
            self.total += sum(storage.nbytes() for key, storage in made.items() if key not in given)
        return result


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(value)[0] if isinstance(leaf, Tensor)]


def test_bytes_of_new_storages_alone_are_counted():
    with CountBytes() as counted:
        x = torch.empty(10)
        x.view(2, 5).add_(1)
        torch.empty(1000, device="meta")
        x * 2
    assert counted.total == 80
