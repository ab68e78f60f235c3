"""Split training as a Ray Train run: one worker holds the server half and runs the loop."""

from __future__ import annotations

import logging
import os
import pickle
import posixpath
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.experimental import tqdm_ray
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    Result,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    UserCallback,
)
from ray.train.torch import TorchTrainer

from raysplit.config import SplitConfig
from raysplit.errors import ClusterError, RaysplitError
from raysplit.folders.run_dir import STATE, RunDir
from raysplit.monitors.group import require_packages
from raysplit.monitors.mlflow_run import URI
from raysplit.torch_utils.checkpoint import pack_state, unpack_state
from raysplit.train.loop import Loop
from raysplit.train.nodes import describe_shared_node, name_node
from raysplit.train.ray_device import ENVIRONMENT, wait_for_resources
from raysplit.train.run import read_newest_state, run
from raysplit.train.run_devices import RunDevices
from raysplit.train.summary import epoch_line, summarize
from raysplit.train.threads import use_threads
from raysplit.utils.progress import show_progress
from raysplit.utils.ray_train import WorkerFault, fit, pickle_config
from raysplit.utils.storage import dated

_log = logging.getLogger(__name__)


class SplitTrainer:
    """Trains a recipe across a device actor and a server half on the Ray cluster that is connected.

    Args:
        config: the recipe.
        run_dir: a run to resume from its newest checkpoint; None: a new one under `ray.storage`.
        callbacks: Ray Train's own, `ray.train.UserCallback`, which Ray's controller calls; `SplitConfig.monitors` are
            called by the worker, and without Ray alike.

    >>> from raysplit import read_run
    >>> trainer = SplitTrainer(read_run("stopped_run").config, "stopped_run")
    >>> trainer.config.train.epochs  # trainer.fit() trains those that are left
    2
    """

    def __init__(self, config: SplitConfig, run_dir: str | None = None, callbacks: Sequence[UserCallback] = ()):
        self.config, self._callbacks = config, list(callbacks)
        self.run_dir = RunDir.at(run_dir or posixpath.join(config.ray.storage, dated(config.name))).location

    def fit(self) -> Result:
        """Run to the end; `result.metrics` is the last epoch's row and the summary of the run.

        Raises ClusterError when the cluster has no room or workers are lost more than `ray.max_failures`
        times, any other RaysplitError that the run meets, and KeyboardInterrupt with the run directory after
        Ctrl-C.
        """
        require_packages(self.config)
        if not ray.is_initialized():
            ray.init(log_to_driver=True)
        asked = wait_for_resources(self.config)
        storage, name = posixpath.split(self.run_dir)
        trainer = TorchTrainer(
            _worker,  # type: ignore[arg-type]
            train_loop_config={
                "config": pickle_config(self.config),
                "run_dir": self.run_dir,
                "bar": sys.stderr.isatty(),
            },
            scaling_config=ScalingConfig(num_workers=1, use_gpu="GPU" in asked, resources_per_worker=asked),
            run_config=RunConfig(  # type: ignore[call-arg]
                name=name,
                storage_path=storage,
                failure_config=FailureConfig(max_failures=self.config.ray.max_failures),
                checkpoint_config=CheckpointConfig(num_to_keep=2),
                logging_config=LoggingConfig(log_level="WARNING"),
                callbacks=self._callbacks or None,  # type: ignore[arg-type]
                worker_runtime_env={"env_vars": ENVIRONMENT | _monitor_environment()},
            ),
        )
        try:
            result = fit(trainer, self.run_dir)
        except TrainingFailedError as err:
            reason = str(err).strip().splitlines()[-1]
            raise ClusterError(f"the run failed: {reason}; continue it with --resume {self.run_dir}") from err
        fault: WorkerFault | None = result.return_value  # type: ignore[attr-defined]
        if fault is not None:
            raise fault.to_error()
        return result


def _monitor_environment() -> dict[str, str]:
    """Return where the driver would have MLflow log, for the worker."""
    return {URI: os.environ[URI]} if URI in os.environ else {}


def _worker(job: dict[str, Any]) -> WorkerFault | None:
    """The Train worker. Errors that the user caused are returned, not raised: a retry would only repeat them."""
    config: SplitConfig = pickle.loads(job["config"])
    folder = RunDir.at(job["run_dir"])
    use_threads(config)
    # Ray Train logs every report through a logger that its LoggingConfig does not control.
    logging.getLogger().setLevel(logging.WARNING)
    show_progress()
    try:
        start = _start(folder)
        devices = RunDevices(config, job["run_dir"])
        try:
            node = name_node(ray.get_runtime_context().get_node_id())
            bar = _Bar(config).update if job["bar"] else None
            loop = Loop(
                config,
                devices.start(resumed=start is not None),
                bar,
                node,
                resumed=start is not None,
                replace_device=devices.replace,
            )
            if (shared := describe_shared_node(config.ray, loop.facts.node, node, ray.nodes())) is not None:
                _log.warning(shared)
            run(loop, folder, start, lambda loop: _report(loop, folder))
            devices.release("the run has ended")
        except RaysplitError as err:
            devices.release(f"the run has failed: {err}")
            raise
        finally:
            devices.close()
    except RaysplitError as err:
        return WorkerFault.of(err)
    return None


def _start(folder: RunDir) -> dict[str, Any] | None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return read_newest_state(folder)
    with checkpoint.as_directory() as path:
        return unpack_state((Path(path) / STATE).read_bytes())


def _report(loop: Loop, folder: RunDir) -> None:
    state = pack_state(loop.state())
    metrics: dict[str, Any] = {"epoch": -1}
    if loop.records:
        metrics = loop.records[-1].to_row()
        _log.info(epoch_line(loop.records[-1], loop.config.train.epochs))
    if loop.test is not None:
        metrics |= summarize(loop, folder.location).model_dump(mode="json")
    with tempfile.TemporaryDirectory() as path:
        (Path(path) / STATE).write_bytes(state)
        ray.train.report(metrics, checkpoint=Checkpoint.from_directory(path))


class _Bar:
    """A progress bar that the driver draws, whatever node the worker runs on."""

    def __init__(self, config: SplitConfig):
        self._config = config
        self._bar: Any = None

    def update(self, epoch: int, step: int, steps: int, loss: float) -> None:
        if self._bar is None:
            self._bar = tqdm_ray.tqdm(desc=self._config.name, total=self._config.train.epochs * steps, unit="step")
            self._bar.update(epoch * steps)
        self._bar.set_description(f"{self._config.name} epoch {epoch + 1}/{self._config.train.epochs} loss {loss:.3f}")
        self._bar.update(1)
        if step == steps and epoch + 1 == self._config.train.epochs:
            self._bar.close()
