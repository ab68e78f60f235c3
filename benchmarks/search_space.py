"""The space of `benchmarks/search.py`: `tune_spaces/cut_and_level.py` without 8 bits; small enough for every point."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ray import tune

sys.path.insert(0, str(Path(__file__).parents[1]))

from raysplit.config import SplitConfig
from tune_spaces import cut_and_level

recipe = cut_and_level.recipe


def param_space(base: SplitConfig) -> dict[str, Any]:
    """Return cut × channels × bits × schedule."""
    return cut_and_level.param_space(base) | {"bits": tune.choice([2, 4])}
