"""How many runs, of different seeds, stand behind the numbers of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from raysplit.folders.reader import RunRecord


def count_runs(runs: Sequence[RunRecord]) -> str:
    """Return how many runs there are of each recipe: runs whose configs differ in name and seed at most."""
    if len(runs) == 1:
        return "one run"
    counts = Counter(run.config.model_dump_json(exclude={"name": True, "train": {"seed"}}) for run in runs).values()
    low, high = min(counts), max(counts)
    if high == 1:
        return "one run each"
    return f"{high} runs each" if low == high else f"{low}–{high} runs each"
