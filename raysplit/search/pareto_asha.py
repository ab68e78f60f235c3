"""When a trial is stopped: successive halving by Pareto rank, asynchronously.

ASHA (Li et al., MLSys 2020) with the rank of non-dominated sorting in place of one metric, as Schmucker et al. 2021
(arXiv 2106.12639) have it: a trial that is thin and not yet accurate is not held against one that is neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysplit.search.pareto import Objectives, front


class ParetoASHA:
    """Remembers what trials had come to at each rung."""

    def __init__(self, objectives: Objectives, first: int, reduction: int | None):
        self._objectives, self._first, self._reduction = objectives, first, reduction
        self._seen: dict[int, list[Mapping[str, Any]]] = {}

    def goes_on(self, epoch: int, values: Mapping[str, Any]) -> bool:
        """Return whether a trial goes on after `epoch` epochs; between rungs it always does."""
        if self._reduction is None or not self._is_rung(epoch):
            return True
        seen = self._seen.setdefault(epoch, [])
        seen.append(values)
        better = 0
        left = list(range(len(seen)))
        while left:
            best = {left[i] for i in front([seen[i] for i in left], self._objectives)}
            if not best or len(seen) - 1 in best:
                break
            better += len(best)
            left = [i for i in left if i not in best]
        return better * self._reduction < len(seen)

    def _is_rung(self, epoch: int) -> bool:
        assert self._reduction is not None
        rung = self._first
        while rung < epoch:
            rung *= self._reduction
        return rung == epoch
