"""Ensemble applications in one process, without Serve: real sub-models and engine, handles that call them directly."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from starlette.testclient import TestClient

from raysplit.ensemble.bundle import Ensemble, load_ensemble
from raysplit.serving.args import EnsembleArgs
from raysplit.serving.ensemble.engine import Engine
from raysplit.serving.ensemble.routes import EnsembleRoutes
from raysplit.serving.ensemble.submodels import SubmodelDeployment, SubmodelReply
from raysplit.serving.ensemble.telemetry import DeploymentMetrics
from raysplit.serving.http.telemetry import Telemetry


class LocalHandle:
    """A handle to sub-models in this process; faults can be injected."""

    def __init__(self, submodels: SubmodelDeployment):
        self.submodels = submodels
        self.features = self
        self.faults: list[BaseException | float | str] = []
        """One for each of the next calls: an error to raise, seconds to sleep, or the id of another bundle."""
        self.calls = 0

    def remote(self, images: bytes, count: int) -> asyncio.Task[SubmodelReply]:
        return asyncio.ensure_future(self._call(images, count))

    async def _call(self, images: bytes, count: int) -> SubmodelReply:
        self.calls += 1
        fault = self.faults.pop(0) if self.faults else 0.0
        if isinstance(fault, BaseException):
            raise fault
        if isinstance(fault, float):
            await asyncio.sleep(fault)
        reply = await self.submodels.features(images, count)
        return replace(reply, bundle_id=fault) if isinstance(fault, str) else reply


class App:
    """One ensemble's application."""

    def __init__(self, bundle: str, **args: Any):
        self.args = EnsembleArgs.model_validate({"bundle": bundle} | args)
        self.ensemble: Ensemble = load_ensemble(bundle)
        self.deployments = self.args.assign_deployments(len(self.ensemble.manifest.submodels))
        self.handles = {
            name: LocalHandle(SubmodelDeployment(bundle, self.ensemble.id, indices))
            for name, indices in self.deployments.items()
        }
        on_results = DeploymentMetrics().record_results
        self.engine = Engine(self.ensemble, self.args, self.deployments, self.handles, on_results)
        self.asgi = EnsembleRoutes(self.engine, self.args, self.deployments, Telemetry()).app

    def client(self, address: str = "127.0.0.1") -> TestClient:
        return TestClient(self.asgi, client=(address, 50000))
