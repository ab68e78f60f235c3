"""A search on Ray Tune: the sampler hands out points, rungs stop trials, every trial that ends is written down."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from raysplit.config import SplitConfig, loads
from raysplit.errors import ConfigError, RaysplitError
from raysplit.folders.search_dir import SearchDir, State, Trial
from raysplit.search.config import SearchConfig
from raysplit.search.pareto_asha import ParetoASHA
from raysplit.search.sampler import Sampler
from raysplit.search.space import Config, Point, Space
from raysplit.search.trial import Report, epochs_of, expected, fault_of, prepare, reports

_GPU_SHARE = 0.25
"""Of a GPU, for a trial: the networks are small."""


class SearchState:
    """The state of a search: which trials ended how, in its folder; and which point is next.

    A ledger on a folder that holds trials goes on after them.
    """

    def __init__(self, search: SearchConfig, place: SearchDir, watch: Callable[[Trial], None] | None = None):
        self.search, self.place, self._watch = search, place, watch
        self.space = Space(search.space, search.recipe)
        self.sampler = Sampler(
            self.space,
            search.directions,
            search.sampler,
            search.seed,
            lambda config: fault_of(search, config),
            lambda config: expected(search, config),
        )
        first = search.first_rung or max(1, epochs_of(search.recipe) // 3)
        self.rungs = ParetoASHA(search.directions, first, search.reduction)
        self.trials = place.trials()
        for trial in self.trials:
            self.sampler.told(trial["point"], _values(trial, epochs_of(self.space.config(trial["point"]))))
        self._next = max((trial["number"] for trial in self.trials), default=-1) + 1
        self._began = len(self.trials)
        self._open: dict[int, tuple[Point, Config, float]] = {}

    def begin(self) -> tuple[int, Config] | Literal["wait"] | None:
        """Return the next trial's number and config, `wait` for a trial to end first, or None: there are no more."""
        if self._began >= self.search.trials:
            return None
        if self.search.max_epochs is not None:
            each = epochs_of(self.search.recipe)
            left = self.search.max_epochs - sum(trial["trained"] for trial in self.trials)
            if left < (len(self._open) + 1) * each:
                return "wait" if self._open and left >= each else None
        found = self.sampler.next()
        if found is None:
            return None
        point, config = found
        number, self._next, self._began = self._next, self._next + 1, self._began + 1
        config = config.replaced(name=f"{self.search.recipe.name}_trial{number}")
        self._open[number] = (point, config, time.time())
        return number, config

    def end(self, number: int, state: State, report: Report, fault: str | None = None) -> None:
        """Write down how a trial ended."""
        point, config, began = self._open.pop(number)
        trial: Trial = {
            "number": number,
            "state": state,
            "point": point,
            "recipe": config.model_dump_json(indent=2),
            "fault": fault,
            "epochs": report.get("epoch", 0),
            "trained": report.get("trained", 0),
            "start_s": report.get("start_s"),
            "wall_s": time.time() - began,
            **{name: report.get(name) for name in self.search.directions},
        }
        self.place.add(trial)
        self.trials.append(trial)
        self.sampler.told(point, _values(trial, epochs_of(config)))
        if self._watch is not None:
            self._watch(trial)


def _values(trial: Trial, epochs: int) -> dict[str, float] | None:
    """Return a trial's objectives; of one that was stopped, bytes and seconds as if it had gone on like that."""
    if trial["state"] == "failed":
        return None
    more = epochs / trial["epochs"] if trial["state"] == "stopped" else 1
    names = [key for key in ("accuracy", "bytes", "seconds", "image_bytes", "answer_s", "mib") if key in trial]
    return {name: trial[name] * (more if name in ("bytes", "seconds") else 1) for name in names}


def search(
    config: SearchConfig, place: SearchDir, concurrent: int | None = None, watch: Callable[[Trial], None] | None = None
) -> list[tuple[Point, str]]:
    """Search, or go on with the search in a folder, and return the points that were refused, with the reason.

    Runs on the Ray cluster that is connected, or on a local one; the folder must be one that all nodes reach.
    `concurrent`: trials at once, each with one CPU and one torch thread; None: as many as there are CPUs. `watch`
    hears of each trial that has ended. Trials that fail are counted and the search goes on. Where the cluster has
    GPUs and the recipe may use one, a trial asks for a share of it. Raises ConfigError for a space with keys or values
    that no config has, and when no trial finishes; KeyboardInterrupt after Ctrl-C.
    """
    place.check(config)
    ledger = SearchState(config, place, watch)
    place.claim(config)
    prepare(config, place)
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    cpus = int(ray.cluster_resources().get("CPU", 1))
    # A notebook or a job has its own idea of the working directory; trials write nothing there.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    # Tune would end the search without a word, and all that comes after it would be done.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    tune.Tuner(
        tune.with_resources(TrialActor, _resources(config)),
        tune_config=tune.TuneConfig(
            search_alg=_Points(ledger),
            scheduler=_Stopper(ledger),
            num_samples=-1,
            max_concurrent_trials=concurrent or max(1, cpus),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"tune/{time.time_ns()}",
            storage_path=place.location,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    ).fit()
    refused = ledger.sampler.refused
    if refused and not ledger.trials:
        reason, count = Counter(reason for _, reason in refused).most_common(1)[0]
        raise ConfigError(f"none of {len(refused)} points can be; {count} of them: {reason}")
    place.write_results(refused)
    return refused


def _resources(search: SearchConfig) -> dict[str, float]:
    recipe = search.recipe
    device = recipe.train.device if isinstance(recipe, SplitConfig) else recipe.base.train.device
    gpus = ray.cluster_resources().get("GPU", 0) if device.startswith(("auto", "cuda")) else 0
    return {"cpu": 1} | ({"gpu": _GPU_SHARE} if gpus else {})


class TrialActor(tune.Trainable):
    """Trains one config after the other in the same process; a step is an epoch."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        import torch

        torch.set_num_threads(1)
        self._number, self._asked, self._started = config["number"], config["asked"], None
        self._reports = _trained(config)

    def step(self) -> dict[str, Any]:
        if self._started is None:
            self._started = time.time() - self._asked
        try:
            report = next(self._reports)
        except Exception as err:  # of the user's model too: the search goes on
            kind = "" if isinstance(err, RaysplitError) else f"{type(err).__name__}: "
            report = {"fault": f"{kind}{err}", "last": True}
        return report | {"number": self._number, "start_s": self._started, "done": report["last"]}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A trial that is lost begins anew."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """There are none."""


def _trained(config: dict[str, Any]) -> Iterator[Report]:
    search = loads(SearchConfig, config["search"], "the trial's search")
    recipe = type(search.recipe).model_validate_json(config["recipe"])
    return reports(search, recipe, config["location"])


class _Points(Searcher):
    """Tune's side of the ledger: gives out points, hears how trials ended."""

    def __init__(self, ledger: SearchState):
        super().__init__()
        self._ledger, self._numbers = ledger, dict[str, int]()
        self._last: dict[str, Report] = {}

    def set_search_properties(self, metric: Any, mode: Any, config: dict, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        found = self._ledger.begin()
        if found is None or found == "wait":
            return None if found else Searcher.FINISHED
        self._numbers[trial_id], config = found
        return {
            "number": self._numbers[trial_id],
            "recipe": config.model_dump_json(),
            "search": self._ledger.search.model_dump_json(),
            "location": self._ledger.place.location,
            "asked": time.time(),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._last[trial_id] = result

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        report = result or self._last.get(trial_id, {})
        fault = report.get("fault")
        if error and fault is None:
            fault = f"the worker was lost; {self._ledger.place.location}/tune has its log"
        state: State = "failed" if fault else "finished" if report.get("last") else "stopped"
        self._ledger.end(self._numbers.pop(trial_id), state, report, fault)
        self._last.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """The ledger's folder is what a search goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""


class _Stopper(FIFOScheduler):
    """Tune's side of the rungs."""

    def __init__(self, ledger: SearchState):
        super().__init__()
        self._ledger = ledger

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if result.get("fault") or result["last"] or self._ledger.rungs.goes_on(result["epoch"], result):
            return TrialScheduler.CONTINUE
        return TrialScheduler.STOP
