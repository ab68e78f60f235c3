"""The file of a benchmark's finished runs, a line each, and the folder of those that are under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from raysplit.config import SplitConfig
from raysplit.errors import DivergenceError
from raysplit.train.local import train_local
from traffic.runs import Fit, RunResult, TimeIsUp, read, run_folder, settings_id, train


class RunStore:
    """Runs in `file`, and in folders below `work` until they are in the file."""

    def __init__(self, file: Path, work: Path):
        self.work = work
        self._file = file
        work.mkdir(parents=True, exist_ok=True)

    def has(self, config: SplitConfig) -> bool:
        """Return whether a run is in the file, trained with these settings."""
        return (config.name, config.train.seed, settings_id(config)) in self._kept()

    def collect(self, configs: Iterable[SplitConfig]) -> tuple[list[RunResult], list[str]]:
        """Return the runs that have been trained with these configs, in order, and which are missing, in words."""
        found, missing, kept = [], [], self._kept()
        for config in configs:
            name, seed = config.name, config.train.seed
            run = read(run_folder(self.work, config), config) or kept.get((name, seed, settings_id(config)))
            if run is None:
                missing.append(f"{name}, seed {seed}")
            else:
                found.append(run)
        return found, missing

    def write(self, runs: Iterable[RunResult]) -> None:
        """Write the file anew, whole or not at all."""
        part = self._file.with_suffix(".part")
        part.write_text("".join(f"{run.model_dump_json()}\n" for run in runs))
        part.replace(self._file)

    def train(
        self,
        configs: Iterable[SplitConfig],
        until: float,
        after: Callable[[], object],
        fit: Callable[[SplitConfig], Fit] = lambda _: train_local,
    ) -> None:
        """Train what is not done yet, until `until` in seconds of `time.monotonic`; call `after` when a run has ended.

        `fit` chooses what trains a config.
        """
        for config in configs:
            if self.has(config):
                continue
            what = f"{config.name}, seed {config.train.seed}"
            try:
                done = train(config, run_folder(self.work, config), until, fit(config))
            except TimeIsUp:
                print("the time is up: the same command goes on at the last epoch")
                return
            except DivergenceError as err:
                print(f"{what}: {err}", flush=True)
                continue
            if done is not None:
                after()
                seconds = sum(epoch.train_s for epoch in done.epochs)
                text = f"{100 * done.accuracy:.2f} %, {done.traffic / 1e6:,.4g} MB, {seconds:.0f} s"
                print(f"{what}: {text}", flush=True)

    def _kept(self) -> dict[tuple[str, int, str], RunResult]:
        """Return the runs of the file, by name, seed and settings."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        runs = [RunResult.model_validate_json(line) for line in lines]
        return {(run.row, run.seed, run.settings): run for run in runs}
