"""Frozen parts of a network: parameters without gradients, batch norm that keeps its statistics."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import Self

from raysplit.errors import ConfigError, nearest


def match_parameters(model: nn.Module, patterns: Sequence[str], where: str) -> frozenset[str]:
    """Return the names of the parameters that glob patterns (`layer1.*`, `*.bn?.weight`) match; `*` matches dots too.

    Raises ConfigError, which begins with `where` and names close parameters, for a pattern that matches none.

    >>> sorted(match_parameters(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), ["1.*"], "train.freeze"))
    ['1.bias', '1.weight']
    """
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    matched: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            whole = any(name.startswith(f"{pattern}.") for name in names)
            hint = f"Write '{pattern}.*' for all of {pattern}" if whole else nearest(pattern, names)
            raise ConfigError(f"{where}: '{pattern}' matches none of the network's {len(names)} parameters. {hint}")
        matched.update(found)
    return frozenset(matched)


class PartlyFrozen(nn.Module):
    """A module of which parts can be frozen: they get no gradients, and stay in eval mode where it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self._resting: tuple[nn.Module, ...] = ()

    def freeze(self, part: nn.Module, names: Collection[str]) -> None:
        """Freeze parameters of `part`, by their names there, and the statistics of batch norm that is wholly frozen."""
        for name, parameter in part.named_parameters(remove_duplicate=False):
            if name in names:
                parameter.requires_grad_(False)
        for path, layer in part.named_modules():
            own = [f"{path}.{name}".lstrip(".") for name, _ in layer.named_parameters(recurse=False)]
            if isinstance(layer, _BatchNorm) and own and all(name in names for name in own):
                self._resting += (layer,)

    def freeze_all(self, part: nn.Module) -> None:
        """Freeze all of `part`, dropout and other layers without parameters too."""
        part.requires_grad_(False)
        self._resting += (part,)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for part in self._resting:
            part.eval()
        return self
