"""Which trials are stopped early: asynchronous successive halving by Pareto rank.

ASHA (Li et al., MLSys 2020) with the rank of non-dominated sorting in place of a single metric (Schmucker et al., 2021,
arXiv 2106.12639): a trial with little traffic and low accuracy so far is not dominated by one with much traffic and
high accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysplit.config.search import Objectives
from raysplit.search.pareto import pareto_front


class ParetoASHA:
    """Ranks each trial against those that reached the same rung before it.

    Args:
        objectives: names with their directions.
        first_rung: epochs after which a trial can be stopped for the first time.
        reduction: one in so many trials continues after a rung, and each rung is so many times the one before; None: no
            trial is stopped.

    >>> asha = ParetoASHA({"accuracy": "max"}, first_rung=1, reduction=3)
    >>> [asha.should_continue(1, {"accuracy": accuracy}) for accuracy in (0.9, 0.2, 0.95)]
    [True, False, True]
    """

    def __init__(self, objectives: Objectives, first_rung: int, reduction: int | None):
        self._objectives, self._first_rung, self._reduction = objectives, first_rung, reduction
        self._rungs: dict[int, list[Mapping[str, Any]]] = {}

    def should_continue(self, epoch: int, objectives: Mapping[str, Any]) -> bool:
        """Return whether a trial continues after `epoch` epochs; between rungs it always does."""
        if self._reduction is None or not self._is_rung(epoch, self._reduction):
            return True
        rung = self._rungs.setdefault(epoch, [])
        rung.append(objectives)
        better = 0
        left = list(range(len(rung)))
        while left:
            best = {left[i] for i in pareto_front([rung[i] for i in left], self._objectives)}
            if not best or len(rung) - 1 in best:
                break
            better += len(best)
            left = [i for i in left if i not in best]
        return better * self._reduction < len(rung)

    def _is_rung(self, epoch: int, reduction: int) -> bool:
        rung = self._first_rung
        while rung < epoch:
            rung *= reduction
        return rung == epoch
