"""Running statistics of batch norm for each level, where one network is trained at several levels in turn.

Yu, Yang, Xu, Yang, Huang, "Slimmable Neural Networks", ICLR 2019: activations of networks of several widths have other
means and variances, and statistics over all of them fit none. Only statistics are kept apart here, all weights are
shared.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raysplit.wire.level import Level

State = dict[str, dict[str, torch.Tensor]]
"""For each level, the buffers of all batch norms by their names."""


class LevelStatistics:
    """Keeps the buffers of a module's batch norms apart for each level; the module holds those of one level.

    >>> norm = nn.BatchNorm1d(1)
    >>> statistics = LevelStatistics(norm)
    >>> for mean, level in ((1.0, Level("c1.b4/b4")), (9.0, Level("all.b4/b4"))):
    ...     statistics.use(level)
    ...     _ = norm.running_mean.fill_(mean)
    >>> statistics.use(Level("c1.b4/b4"))
    >>> norm.running_mean
    tensor([1.])
    """

    def __init__(self, half: nn.Module):
        self._norms = {name: layer for name, layer in half.named_modules() if isinstance(layer, _BatchNorm)}
        self._kept: State = {}
        self._level: str | None = None

    @property
    def begun(self) -> bool:
        """Whether statistics are kept apart."""
        return self._level is not None

    @torch.no_grad()
    def use(self, level: Level) -> None:
        """Put the statistics of a level into the module; a level without any goes on from those that are there."""
        if str(level) == self._level:
            return
        if self._level is not None:
            self._kept[self._level] = {name: value.clone() for name, value in self._buffers().items()}
        self._level = str(level)
        kept = self._kept.get(self._level, {})
        for name, value in self._buffers().items():
            if name in kept:
                value.copy_(kept[name])

    def state(self) -> dict[str, object]:
        """Return what a checkpoint holds: those of the level in the module are in the module's own state."""
        return {"level": self._level, "kept": self._kept}

    def restore(self, state: dict[str, object]) -> None:
        """Go back to a state that `state` returned."""
        self._level, self._kept = state["level"], state["kept"]  # type: ignore[assignment]

    def _buffers(self) -> dict[str, torch.Tensor]:
        return {f"{name}.{key}": value for name, layer in self._norms.items() for key, value in layer.named_buffers()}
