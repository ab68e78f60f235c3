"""The heavy stages of a build on a Ray cluster: the base by Ray Train, sub-models as tasks side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer, prepare_model

from raysplit import errors
from raysplit.config import EnsembleConfig, loads
from raysplit.ensemble.base import fit_base
from raysplit.errors import ClusterError, ConfigError, ModelError, RaysplitError
from raysplit.ray_train import fit
from raysplit.storage import Folder

_RETRIES = 2
"""How often a stage whose worker was lost starts again, from what it had written."""


_GPU_SHARE = 0.25
"""Of a GPU, where the cluster has any, for a sub-model: they are small."""


class OnRay:
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
        _check_room(config.base.workers)
        trainer = TorchTrainer(
            _worker,  # type: ignore[arg-type]
            train_loop_config={"config": config.model_dump_json(), "location": location},
            scaling_config=ScalingConfig(num_workers=config.base.workers, use_gpu=_has_gpus()),
            run_config=RunConfig(
                name="ray_train", storage_path=location, failure_config=FailureConfig(max_failures=_RETRIES)
            ),
        )
        try:
            result = fit(trainer, location)
        except TrainingFailedError as err:
            reason = str(err).strip().splitlines()[-1]
            raise ClusterError(f"training the base failed: {reason}; go on with --resume {location}") from err
        fault = (result.return_value or {}).get("error")  # type: ignore[attr-defined]
        if fault:
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


def _check_room(workers: int) -> None:
    """Raise ConfigError for more workers than the cluster has room for: Ray Train would wait for it without end."""
    kind = "GPU" if _has_gpus() else "CPU"
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


def _worker(job: dict[str, Any]) -> dict[str, Any]:
    """A worker of Ray Train. Faults of the user's making are returned: a retry would only repeat them."""
    config = loads(EnsembleConfig, job["config"], where="the trainer's config")
    context = ray.train.get_context()
    try:
        fit_base(
            config,
            Folder.at(job["location"]),
            context.get_world_rank(),
            context.get_world_size(),
            lambda objective: prepare_model(objective, move_to_device=False),
        )
    except RaysplitError as err:
        # What a model does, it does in all of them; else the others would wait for this one.
        if context.get_world_rank() and not isinstance(err, ModelError):
            raise
        return {"error": {"type": type(err).__name__, "text": str(err)}}
    return {}
