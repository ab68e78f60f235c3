"""Building the application of an ensemble: a deployment per sub-model or group of them, and one that queries them.

serve run serve_configs/ensemble.yaml
serve run raysplit.serving.ensemble:build bundle=DIR
RAYSPLIT_BUNDLE=DIR serve build raysplit.serving.ensemble:app
"""

# No `from __future__ import annotations`: Serve reads the annotation of `build` at run time.
import asyncio
import contextlib
import os
from typing import Any, cast

import numpy as np
from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig
from ray.serve.handle import DeploymentHandle

from raysplit.ensemble.bundle import load_ensemble
from raysplit.errors import ConfigError, RequestError
from raysplit.serving.args import INGRESS, EnsembleArgs
from raysplit.serving.ensemble.engine import Engine
from raysplit.serving.ensemble.routes import EnsembleRoutes
from raysplit.serving.ensemble.submodels import SubmodelDeployment, load_deployed_ensemble
from raysplit.serving.ensemble.telemetry import DeploymentMetrics
from raysplit.serving.http.pipeline import RETRY_AFTER_S
from raysplit.serving.http.telemetry import Telemetry
from raysplit.utils.storage import Folder

_BUNDLE_VARIABLE = "RAYSPLIT_BUNDLE"
_MAX_BATCHES = 8
"""Batches that a replica of sub-models holds at most; as many may wait in each replica of the ingress."""
_QUEUED_BATCHES = 4
"""How many batches' worth of images may wait for the ingress in the proxy."""
_ACTOR_OPTIONS = {"num_cpus": 0.1}
"""Small, so that all replicas fit on a laptop; a config can reserve what they really need."""


@serve.deployment(name=INGRESS)
@serve.ingress()
class Ingress:
    """Speaks HTTP: decodes and batches images once, queries all sub-models, and fuses their features."""

    def __init__(self, args: EnsembleArgs, bundle_id: str, handles: dict[str, DeploymentHandle[Any]]):
        self._args, self._handles = args, handles
        self._ensemble = load_deployed_ensemble(args.bundle, bundle_id, (), fusion=True)
        _ = self._ensemble.fusion  # read now, while its hash is known to be right
        self._engine: Engine | None = None
        self._warm = False

    def __serve_build_asgi_app__(self) -> FastAPI:
        deployments = self._args.assign_deployments(len(self._ensemble.manifest.submodels))
        on_results = DeploymentMetrics().record_results
        self._engine = Engine(self._ensemble, self._args, deployments, self._handles, on_results)
        return EnsembleRoutes(self._engine, self._args, deployments, Telemetry()).app

    async def check_health(self) -> None:
        """Predict a blank image until all sub-models have answered once, which connects to them.

        Serve calls this before the first request and regularly after. It never fails: sub-models that do not answer
        are replaced because of their own health checks.
        """
        if self._engine is None or self._warm:
            return
        blank = np.zeros((1, *self._ensemble.manifest.shape), np.uint8)
        with contextlib.suppress(RequestError, asyncio.TimeoutError):
            prediction = await asyncio.wait_for(self._engine.predict(blank), self._args.branch_timeout_s)
            self._warm = not prediction.missing


def build(args: EnsembleArgs) -> Application:
    """Return the Serve application of an ensemble.

    Raises BundleError for a damaged bundle, ConfigError for groups with sub-models that it does not have. Sub-models
    whose files are not on this machine are checked by their replicas alone.
    """
    ensemble = load_ensemble(args.bundle, submodels=())
    folder, entries = Folder.at(args.bundle), ensemble.manifest.submodels
    load_ensemble(args.bundle, [index for index, entry in enumerate(entries) if folder.has(entry.file)])
    try:
        deployments = args.assign_deployments(len(entries))
    except ValueError as err:
        raise ConfigError(f"args of the ensemble '{args.bundle}': {err}") from None
    submodels = serve.deployment(
        max_ongoing_requests=_MAX_BATCHES, max_queued_requests=_MAX_BATCHES, ray_actor_options=_ACTOR_OPTIONS
    )(SubmodelDeployment)
    handles = {
        name: submodels.options(name=name).bind(args.bundle, ensemble.id, indices)
        for name, indices in deployments.items()
    }
    ingress = Ingress.options(  # type: ignore[attr-defined]
        ray_actor_options=_ACTOR_OPTIONS,
        max_ongoing_requests=2 * args.max_batch,
        max_queued_requests=_QUEUED_BATCHES * args.max_batch,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=RETRY_AFTER_S),
    )
    return cast(Application, ingress.bind(args, ensemble.id, handles))


def build_from_environment() -> Application:
    """Return the application of the ensemble in RAYSPLIT_BUNDLE; ConfigError if that variable is not set."""
    bundle = os.environ.get(_BUNDLE_VARIABLE)
    if bundle is None:
        raise ConfigError(
            f"raysplit.serving.ensemble:app needs the environment variable {_BUNDLE_VARIABLE}; set it to the folder "
            "of an ensemble"
        )
    return build(EnsembleArgs(bundle=bundle))
