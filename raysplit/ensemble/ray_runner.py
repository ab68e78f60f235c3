"""The heavy stages of a build on a Ray cluster: the base by Ray Train, sub-models as tasks side by side."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer, get_device, prepare_model

from raysplit import errors
from raysplit.config import EnsembleConfig
from raysplit.ensemble.classifier import fit_base
from raysplit.errors import ClusterError, ConfigError, RaysplitError
from raysplit.utils.ray_train import fit, pickle_config
from raysplit.utils.storage import Folder

_RETRIES = 2
"""How often a stage whose worker was lost starts again, from what it had written."""
_FAULT = "fault.json"
_GPU_SHARE = 0.25
"""Of a GPU, where the cluster has any, for a sub-model: they are small."""


class RayRunner:
    """Runs a build's stages on the Ray cluster that is connected, or on a local one.

    The folder of the build must be one that all nodes reach. Raises ClusterError for workers that are lost again and
    again, and any RaysplitError that a stage meets.
    """

    def __init__(self) -> None:
        if not ray.is_initialized():
            ray.init(log_to_driver=True)

    def fit_base(self, config: EnsembleConfig, location: str) -> None:
        """Train the base in `base.workers` data-parallel workers of Ray Train; with none, in this process."""
        if not config.base.workers:
            fit_base(config, Folder.at(location))
            return
        gpus, place = _has_gpus() and config.base.train.device != "cpu", Folder.at(location)
        _check_room(config.base.workers, gpus)
        if place.has(_FAULT):
            place.delete(_FAULT)
        trainer = TorchTrainer(
            _worker,
            train_loop_config={"config": pickle_config(config), "location": location},
            scaling_config=ScalingConfig(num_workers=config.base.workers, use_gpu=gpus),
            run_config=RunConfig(
                name="ray_train", storage_path=location, failure_config=FailureConfig(max_failures=_RETRIES)
            ),
        )
        try:
            fit(trainer, location)
        except TrainingFailedError as err:
            if not place.has(_FAULT):
                reason = str(err).strip().splitlines()[-1]
                raise ClusterError(f"training the base failed: {reason}; go on with --resume {location}") from err
        if (found := place.find(_FAULT)) is not None:
            place.delete(_FAULT)
            fault = json.loads(found)
            raise getattr(errors, fault["type"], RaysplitError)(fault["text"])

    def each(self, function: Callable[[int], None], indices: Iterable[int], name: Callable[[int], str]) -> None:
        call = _call.options(num_gpus=_GPU_SHARE) if _has_gpus() else _call
        waiting = {call.remote(function, index): index for index in indices}
        try:
            while waiting:
                (ready,), _ = ray.wait(list(waiting))
                index = waiting.pop(ready)
                _wait(ready, name(index))
                print(f"{name(index)} is done", flush=True)
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)


def _check_room(workers: int, gpus: bool) -> None:
    """Raise ConfigError for more workers than the cluster has room for: Ray Train would wait for it without end."""
    kind = "GPU" if gpus else "CPU"
    if (most := int(ray.cluster_resources().get(kind, 0))) < workers:
        raise ConfigError(f"base.workers is {workers}, the cluster has {most} {kind}s; set it to less, or add nodes")


def _has_gpus() -> bool:
    return bool(ray.cluster_resources().get("GPU"))


@ray.remote(num_cpus=1, max_retries=_RETRIES)
def _call(function: Callable[[int], None], index: int) -> None:
    function(index)


def _wait(reference: Any, name: str) -> None:
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as err:
        if isinstance(err.cause, RaysplitError):
            raise err.cause from None
        raise
    except ray.exceptions.RayError as err:
        reason = str(err).strip().splitlines()[0]
        raise ClusterError(
            f"{name}: its worker was lost {_RETRIES + 1} times: {reason}; is its node's memory too small? "
            "What is done is kept: go on with --resume and the build's folder"
        ) from None


def _worker(job: dict[str, Any]) -> None:
    """A worker of Ray Train.

    A fault of the user's making is written down before it is raised: raised, as the others would wait for this worker;
    written, as workers that are started again would only repeat it.
    """
    config: EnsembleConfig = pickle.loads(job["config"])
    place = Folder.at(job["location"])
    if place.has(_FAULT):
        return
    context, device = ray.train.get_context(), get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # of those that the workers of a node all see, this one's
    try:
        fit_base(
            config,
            place,
            context.get_world_rank(),
            context.get_world_size(),
            lambda objective: prepare_model(objective, move_to_device=False),
        )
    except RaysplitError as err:
        place.write(_FAULT, json.dumps({"type": type(err).__name__, "text": str(err)}).encode())
        raise
