"""Latencies of the ensemble benchmark's builds: of one table in one run, all networks taking turns."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path

from raysplit.ensemble.base_classifier import load_base
from raysplit.ensemble.bundle import load_ensemble
from raysplit.ensemble.context import open_build
from raysplit.ensemble.cost import measure_latencies
from raysplit.ensemble.weights_file import set_precision
from raysplit.folders.build_dir import BuildDir
from raysplit.records.ensemble_summary import sum_by_device

TIMES = "times.json"


def measure(places: Sequence[Path], rounds: int = 30) -> None:
    """Write `times.json` into the folder of each build: the latencies of its `summary.json`, in ms, measured anew.

    The bases of the builds have one geometry; that of the first one is measured. Nothing else should be running.
    """
    folders = [BuildDir.at(str(place)) for place in places]
    configs = [folder.config() for folder in folders]
    context = open_build(configs[0], folders[0].location)
    base = load_base(context)
    precisions = sorted({config.precision for config in configs})
    bases_like = [set_precision(copy.deepcopy(base), precision) for precision in precisions]
    ensembles = [load_ensemble(folder.bundle_location) for folder in folders]
    parts = [ensemble.submodel(i) for ensemble, config in zip(ensembles, configs, strict=True) for i in range(config.n)]
    seconds = measure_latencies([base, *bases_like, *parts], context.data.shape, rounds)
    found = iter([1e3 * one for one in seconds])
    base_ms, like_ms = next(found), {precision: next(found) for precision in precisions}
    for folder, config in zip(folders, configs, strict=True):
        summary = folder.summary()
        assert summary is not None, f"{folder.location} is not done"
        devices = [one.device for one in summary.submodels]
        on_devices = sum_by_device([next(found) for _ in devices], devices)
        times = {
            "latency_ms_device_max": max(on_devices),
            "latency_ms_total": sum(on_devices),
            "base_latency_ms": base_ms,
            "base_latency_like_ms": like_ms[config.precision],
        }
        folder.write(TIMES, json.dumps(times).encode())
