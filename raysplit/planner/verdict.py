"""What a static plan recommends, in a sentence."""

from __future__ import annotations

import math

from raysplit.compress.quantizing_codec import QuantizingCodec
from raysplit.config import Level
from raysplit.planner.static_plan import PlanRow, StaticPlan
from raysplit.utils.text_table import number

UNKNOWN = (
    "Accuracy is not known before training: a looser level loses less; train this one (jobs/train_split.py) or search "
    "(jobs/search.py) before you rely on it."
)
_WORTH_IT = 0.9
"""Share of the time without a cut that a cut may take, as its level may cost accuracy."""
_MANY_CHANNELS = (1, 4096, 4, 4)


def recommend(plan: StaticPlan) -> PlanRow | None:
    """Return the fastest cut at the loosest level that is fast enough, or None if nothing is.

    Fast enough is what meets the budget; without one, what is a tenth faster than the whole network on either side.
    If no cut is, that is the faster side. Levels cost accuracy, which a plan does not know.
    """
    feasible = [row for row in plan.rows if row.fault is None]
    whole = min((row for row in feasible if row.level is None), key=lambda row: row.total_s, default=None)
    limit_s = plan.budget_s or (_WORTH_IT * whole.total_s if whole else math.inf)
    loosest = max(
        (row for row in feasible if row.level is not None and row.total_s <= limit_s),
        key=lambda row: (_looseness(row.level or ""), -row.total_s),
        default=None,
    )
    if loosest is not None:
        return loosest
    return None if whole is None or whole.total_s > (plan.budget_s or math.inf) else whole


def verdict(plan: StaticPlan) -> str:
    """Return the recommendation as a sentence, with what it is compared to."""
    row = recommend(plan)
    whole = ", ".join(
        f"{other.cut} {number(1000 * other.total_s)} ms{' (infeasible)' if other.fault else ''}"
        for other in plan.rows
        if other.level is None
    )
    budget = "" if plan.budget_s is None else f" within {1000 * plan.budget_s:g} ms"
    if row is None:
        fastest = plan.fastest()
        if fastest is None:
            return "Nothing is feasible; the last column says why."
        where = fastest.cut if fastest.level is None else f"cut {fastest.cut} at {fastest.level}"
        return f"Nothing is{budget}: the fastest, {where}, takes {number(1000 * fastest.total_s)} ms."
    if row.level is None:
        return f"Do not cut: no cut is{budget or ' a tenth faster'}. From image to answer: {whole}."
    why = f"the loosest level{budget}" if budget else "the loosest level that is a tenth faster than not cutting"
    return f"Cut at {row.cut}, level {row.level}: {number(1000 * row.total_s)} ms, {why} ({whole})."


def _looseness(level: str) -> int:
    """Return the bytes of an activation of many channels at a level."""
    return QuantizingCodec(Level(level), "up", channel_dim=1).estimate(_MANY_CHANNELS).bytes
