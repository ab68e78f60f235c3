"""An ensemble of sub-models as an application: one deployment for each, or for several, and one that asks them all.

serve run serve_configs/ensemble.yaml
serve run raysplit.serving.ensemble:build bundle=DIR
RAYSPLIT_BUNDLE=DIR serve build raysplit.serving.ensemble:app
"""

# Annotations stay objects: Serve reads that of `build`.
import asyncio
import contextlib
import os
from typing import Any

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
from raysplit.serving.ensemble.submodels import SubModels, open_same
from raysplit.serving.http.pipeline import RETRY_AFTER_S
from raysplit.serving.http.telemetry import Telemetry

_BATCHES = 8
"""Batches that a replica of sub-models may hold, and as many may wait at each replica that asks it."""
_QUEUES = 4
"""Images that may wait for the ingress in the proxy, in batches."""
_ACTOR = {"num_cpus": 0.1}
"""What a replica reserves, so that a laptop has room for all; a config reserves what it needs."""


@serve.deployment(name=INGRESS)
@serve.ingress()
class Ingress:
    """Speaks HTTP; decodes and batches images once, asks all sub-models, and fuses what they say."""

    def __init__(self, args: dict[str, Any], bundle_id: str, handles: dict[str, DeploymentHandle]):
        self._args, self._handles = EnsembleArgs.model_validate(args), handles
        self._ensemble = open_same(self._args.bundle, bundle_id)
        _ = self._ensemble.fusion  # read now, while its hash is known to be right
        self._engine: Engine | None = None
        self._warm = False

    def __serve_build_asgi_app__(self) -> FastAPI:
        groups, telemetry = self._args.deployments(len(self._ensemble.manifest.submodels)), Telemetry()
        self._engine = Engine(self._ensemble, self._args, groups, self._handles, telemetry.heard)
        return EnsembleRoutes(self._engine, self._args, groups, telemetry).app

    async def check_health(self) -> None:
        """Called by Serve before the first request too: asks all sub-models until they have answered once.

        That connects to them. Those that do not are replaced for their own health.
        """
        if self._engine is None or self._warm:
            return
        nothing = np.zeros((1, *self._ensemble.manifest.shape), np.uint8)
        with contextlib.suppress(RequestError, asyncio.TimeoutError):
            answer = await asyncio.wait_for(self._engine.answer(nothing), self._args.branch_timeout_s)
            self._warm = not answer.missing


def build(args: EnsembleArgs) -> Application:
    """Return the application of an ensemble's bundle.

    Raises BundleError for a bundle that is damaged, ConfigError for groups of sub-models that it has not.
    """
    ensemble = load_ensemble(args.bundle)
    try:
        groups = args.deployments(len(ensemble.manifest.submodels))
    except ValueError as err:
        raise ConfigError(f"args of the ensemble '{args.bundle}': {err}") from None
    submodels = serve.deployment(max_ongoing_requests=_BATCHES, max_queued_requests=_BATCHES, ray_actor_options=_ACTOR)(
        SubModels
    )
    handles = {
        name: submodels.options(name=name).bind(args.bundle, ensemble.id, indices) for name, indices in groups.items()
    }
    ingress = Ingress.options(  # type: ignore[attr-defined]
        ray_actor_options=_ACTOR,
        max_ongoing_requests=2 * args.max_batch,
        max_queued_requests=_QUEUES * args.max_batch,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=RETRY_AFTER_S),
    )
    return ingress.bind(args.model_dump(mode="json"), ensemble.id, handles)


def app_from_environment() -> Application:
    """Return the application of the bundle that the environment variable RAYSPLIT_BUNDLE names.

    Raises ConfigError where it is not set.
    """
    bundle = os.environ.get("RAYSPLIT_BUNDLE")
    if bundle is None:
        raise ConfigError("raysplit.serving.ensemble:app needs the environment variable RAYSPLIT_BUNDLE: an ensemble")
    return build(EnsembleArgs(bundle=bundle))
