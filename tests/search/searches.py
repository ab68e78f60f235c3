"""Small searches: a space file in a temporary folder, and what is around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raysplit import recipes
from raysplit.config import SplitConfig
from raysplit.config.search import SearchConfig
from raysplit.hardware.link import get_link
from raysplit.hardware.machine import NAMED
from raysplit.records.trial import TrialRecord, TrialReport

PLATFORM = {"link": get_link("wifi"), "device": NAMED["pi4"], "server": NAMED["server"]}
SPACE = """
from ray import tune

def param_space(base):
    return {"cut": tune.choice(["features.3", "features.7"]), "schedule.level.up_bits": tune.choice([2, 4])}
"""


def base_recipe() -> SplitConfig:
    return recipes.get("cifar10_vgg11_fixed").with_settings(["train.epochs=2"])


def make_search(folder: Path, space: str = SPACE, **changes: Any) -> SearchConfig:
    """Return a search of four points unless `space` is another file's text."""
    file = folder / "space.py"
    file.write_text(space)
    return SearchConfig(**{"recipe": base_recipe(), "space": str(file), "sampler": "random", **PLATFORM, **changes})


def make_report(accuracy: float, **objectives: float) -> TrialReport:
    """Return the report of a trial that has trained its two epochs."""
    values = {"accuracy": accuracy, "bytes": 10, "seconds": 1.0} | objectives
    return TrialReport(epoch=2, trained=2, last=True, objectives=values)


def make_trial(number: int, accuracy: float | None, **changes: Any) -> TrialRecord:
    """Return the record of a finished trial, or of a failed one."""
    state = "failed" if accuracy is None else "finished"
    objectives = {} if accuracy is None else {"accuracy": accuracy, "bytes": 10, "seconds": 1.0}
    given = {"number": number, "state": state, "point": {"cut": "features.3", "bits": None}, "recipe": "{}"}
    given |= {"epochs": 2, "trained": 2, "wall_s": 3.0, "objectives": objectives}
    return TrialRecord.model_validate(given | changes)
