"""Latencies of the ensemble benchmark's builds: of one table in one run, all networks taking turns."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path

from raysplit.ensemble.build import config_of
from raysplit.ensemble.bundle import load_ensemble
from raysplit.ensemble.classifier import facts_of, load_base
from raysplit.ensemble.cost import latencies
from raysplit.ensemble.summary import per_device
from raysplit.ensemble.weights_file import at_precision
from raysplit.utils.storage import Folder

TIMES = "times.json"


def measure(places: Sequence[Path], rounds: int = 30) -> None:
    """Write what `times.json` of each build has: the latencies of its `summary.json`, in ms, measured anew.

    The builds are of bases of one geometry; that of the first one is measured. Nothing else should be running.
    """
    configs = [config_of(str(place)) for place in places]
    classes, shape = facts_of(configs[0].data)
    base = load_base(configs[0], Folder.at(str(places[0])), len(classes), shape)
    precisions = sorted({config.precision for config in configs})
    likes = [at_precision(copy.deepcopy(base), precision) for precision in precisions]
    ensembles = [load_ensemble(str(place / "bundle")) for place in places]
    parts = [ensemble.submodel(i) for ensemble, config in zip(ensembles, configs, strict=True) for i in range(config.n)]
    found = iter([1e3 * seconds for seconds in latencies([base, *likes, *parts], shape, rounds)])
    base_ms, like_ms = next(found), {precision: next(found) for precision in precisions}
    for place, config in zip(places, configs, strict=True):
        submodels = json.loads((place / "summary.json").read_text())["submodels"]
        devices = per_device([part | {"latency_ms": next(found)} for part in submodels])
        times = {key: value for key, value in devices.items() if key.startswith("latency_ms")}
        times |= {"base_latency_ms": base_ms, "base_latency_like_ms": like_ms[config.precision]}
        (place / TIMES).write_text(json.dumps(times))
