"""A search on Ray Tune, from its config to the results in its folder."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence

import ray
from ray import tune

from raysplit.config import SplitConfig
from raysplit.config.search import SearchConfig
from raysplit.errors import ConfigError
from raysplit.folders.search_dir import SearchDir
from raysplit.records.trial import RefusedPoint, TrialRecord
from raysplit.search.results import write_results
from raysplit.search.state import SearchState
from raysplit.search.trial import prepare_trials
from raysplit.search.tune_driver import ParetoScheduler, StateSearcher
from raysplit.search.tune_trial import TrialActor
from raysplit.utils.interrupts import Interrupts

_GPU_SHARE = 0.25
"""Of a GPU, for a trial: the networks are small."""


def run_search(
    search: SearchConfig,
    folder: SearchDir,
    concurrent: int | None = None,
    on_trial: Callable[[TrialRecord], None] | None = None,
    callbacks: Sequence[tune.Callback] = (),
) -> list[RefusedPoint]:
    """Run a search, or resume the one in a folder, and return the points that were refused.

    Runs on the connected Ray cluster, or on a local one. Trials that fail are counted, and the search continues. On a
    cluster with GPUs a trial whose recipe may use one asks for a share of it.

    Args:
        search: the config.
        folder: where the search goes; all nodes must reach it.
        concurrent: trials at a time, each with one CPU and one torch thread; None: as many as there are CPUs.
        on_trial: called with each trial that has ended.
        callbacks: Ray Tune's, such as its loggers, beside those that Tune adds by itself.

    Raises ConfigError for a space with keys or values that no config has, and if no trial finishes; KeyboardInterrupt
    with the folder after Ctrl-C.
    """
    with Interrupts(folder.location) as interrupts:
        return _run(search, folder, concurrent, on_trial, callbacks, interrupts)


def _run(
    search: SearchConfig,
    folder: SearchDir,
    concurrent: int | None,
    on_trial: Callable[[TrialRecord], None] | None,
    callbacks: Sequence[tune.Callback],
    interrupts: Interrupts,
) -> list[RefusedPoint]:
    folder.check_owner(search)
    state = SearchState(search, folder, on_trial)
    folder.claim(search)
    prepare_trials(search, folder)
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    cpus = int(_cluster_resource("CPU", 1))
    # A notebook or a job has its own idea of the working directory; trials write nothing there.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    # Tune's own handler would end the search without an error, and the caller would go on to the results.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    tune.Tuner(
        tune.with_resources(TrialActor, _trial_resources(search)),
        tune_config=tune.TuneConfig(
            search_alg=StateSearcher(state, interrupts.check),
            scheduler=ParetoScheduler(state),
            num_samples=-1,
            max_concurrent_trials=concurrent or max(1, cpus),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"tune/{time.time_ns()}",
            storage_path=folder.location,
            callbacks=list(callbacks) or None,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    ).fit()
    interrupts.check()  # before results are written that look like those of a whole search
    earlier = folder.refused()
    refused = [*earlier, *(one for one in state.sampler.refused if one not in earlier)]
    if refused and not state.trials:
        reason, count = Counter(one.reason for one in refused).most_common(1)[0]
        raise ConfigError(f"none of the space's {len(refused)} points is feasible; {count} of them: {reason}")
    write_results(folder, refused)
    return refused


def _trial_resources(search: SearchConfig) -> dict[str, float]:
    recipe = search.recipe
    device = recipe.train.device if isinstance(recipe, SplitConfig) else recipe.base.train.device
    gpus = _cluster_resource("GPU", 0) if device.startswith(("auto", "cuda")) else 0
    return {"cpu": 1} | ({"gpu": _GPU_SHARE} if gpus else {})


def _cluster_resource(name: str, default: float) -> float:
    return float(ray.cluster_resources().get(name, default))
