"""The heavy stages of a build on a Ray cluster: the base by Ray Train, sub-models as tasks side by side."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable
from typing import Any, cast

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer, get_device, prepare_model
from torch import nn

from raysplit.config import EnsembleConfig
from raysplit.ensemble.base_classifier import train_base
from raysplit.ensemble.context import BuildContext, open_build
from raysplit.ensemble.runner import Log
from raysplit.ensemble.trainer import DataParallel
from raysplit.errors import ClusterError, ConfigError, RaysplitError
from raysplit.folders.build_dir import BuildDir
from raysplit.utils.interrupts import Interrupts
from raysplit.utils.progress import show_progress
from raysplit.utils.ray_train import WorkerFault, fit, pickle_config

_log = logging.getLogger(__name__)
_RETRIES = 2
"""How often a stage whose worker was lost starts again, from what it had written."""
_CHECK_S = 1.0
"""How often a Ctrl-C is looked for that Ray dropped."""
_FAULT = "fault.json"
"""In the build's folder: the error of a worker of Ray Train, until the driver has read it."""
_GPU_SHARE = 0.25
"""Of a GPU, where the cluster has any, for a sub-model: they are small."""


class RayRunner:
    """Runs a build's stages on the connected Ray cluster, or on a local one.

    The folder of the build must be one that all nodes reach. Raises ClusterError for workers that are lost again and
    again, and any RaysplitError that a stage raises.
    """

    def __init__(self) -> None:
        if not ray.is_initialized():
            ray.init(log_to_driver=True)

    def train_base(self, context: BuildContext, log: Log) -> None:
        """Train the base in `base.workers` data-parallel workers of Ray Train; with none, in this process.

        Workers print their progress, which Ray forwards to the driver's output.
        """
        base, folder = context.config.base, context.folder
        if not base.workers:
            train_base(context, log)
            return
        use_gpu = bool(_count("GPU")) and base.train.device != "cpu"
        _check_resources(base.workers, "GPU" if use_gpu else "CPU")
        if folder.has(_FAULT):
            folder.delete(_FAULT)
        trainer = TorchTrainer(
            _run_worker,
            train_loop_config={"config": pickle_config(context.config), "location": folder.location},
            scaling_config=ScalingConfig(num_workers=base.workers, use_gpu=use_gpu),
            run_config=RunConfig(
                name="ray_train", storage_path=folder.location, failure_config=FailureConfig(max_failures=_RETRIES)
            ),
        )
        try:
            fit(trainer, folder.location)
        except TrainingFailedError as err:
            if not folder.has(_FAULT):
                reason = str(err).strip().splitlines()[-1]
                raise ClusterError(
                    f"training the base failed: {reason}; continue the build with --resume {folder.location}"
                ) from err
        if (data := folder.find(_FAULT)) is not None:
            folder.delete(_FAULT)
            raise WorkerFault.from_json(data).to_error()

    def run_each(
        self, task: Callable[[int], None], indices: Iterable[int], describe: Callable[[int], str], log: Log
    ) -> None:
        """Run a task for each index on the cluster, as many at once as it has resources for."""
        call = _call.options(num_gpus=_GPU_SHARE) if _count("GPU") else _call
        waiting: dict[Any, int] = {}
        with Interrupts() as interrupts:
            try:
                for index in indices:
                    waiting[call.remote(task, index)] = index
                while waiting:
                    interrupts.check()
                    done, _ = ray.wait(list(waiting), timeout=_CHECK_S)
                    for ready in done:
                        index = waiting.pop(ready)
                        _get(ready, describe(index))
                        log(f"{describe(index)} is done")
            finally:
                for reference in waiting:
                    ray.cancel(reference, force=True)


def _count(resource: str) -> int:
    """Return how many CPUs or GPUs the cluster has."""
    resources = cast(Callable[[], dict[str, float]], ray.cluster_resources)()
    return int(resources.get(resource, 0))


def _check_resources(workers: int, kind: str) -> None:
    """Raise ConfigError for more workers than the cluster has resources for: Ray Train would wait forever."""
    if (available := _count(kind)) < workers:
        raise ConfigError(
            f"base.workers is {workers}, the cluster has {available} {kind}s; lower base.workers, or add nodes"
        )


@ray.remote(num_cpus=1, max_retries=_RETRIES)
def _call(task: Callable[[int], None], index: int) -> None:
    task(index)


def _get(reference: Any, name: str) -> None:
    """Wait for a task; raise its RaysplitError as it was, ClusterError for a lost worker."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as err:
        if isinstance(err.cause, RaysplitError):
            raise err.cause from None
        raise
    except ray.exceptions.RayError as err:
        reason = str(err).strip().splitlines()[0]
        raise ClusterError(
            f"{name}: its worker was lost {_RETRIES + 1} times: {reason}; if its node ran out of memory, give it more. "
            "Finished work is kept: continue the build with --resume and its folder"
        ) from None


def _run_worker(job: dict[str, Any]) -> None:
    """Run one worker of Ray Train.

    A RaysplitError is written to a file and then raised: raised, as the other workers would wait for this one;
    written, as restarted workers would only meet it again.
    """
    config: EnsembleConfig = pickle.loads(job["config"])
    folder = BuildDir.at(job["location"])
    if folder.has(_FAULT):
        return
    show_progress()
    session, device = ray.train.get_context(), get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # this worker's: all workers of a node see all of its GPUs
    parallel = DataParallel(session.get_world_rank(), session.get_world_size(), _wrap)
    try:
        train_base(open_build(config, folder.location), _log.info, parallel)
    except RaysplitError as err:
        folder.write(_FAULT, WorkerFault.of(err).to_json())
        raise


def _wrap(objective: nn.Module) -> nn.Module:
    return prepare_model(objective, move_to_device=False)
