"""Ensemble applications in one process, without Serve: real sub-models and engine, handles that call them directly."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.testclient import TestClient

from raysplit.ensemble.bundle import Ensemble, load_ensemble
from raysplit.serving.args import EnsembleArgs
from raysplit.serving.ensemble.engine import Engine
from raysplit.serving.ensemble.routes import EnsembleRoutes
from raysplit.serving.ensemble.submodels import Reply, SubModels
from raysplit.serving.http.telemetry import Telemetry


class Direct:
    """A handle to sub-models in this process; faults can be planted."""

    def __init__(self, submodels: SubModels):
        self._submodels = submodels
        self.features = self
        self.faults: list[BaseException | float | str] = []
        """One for each of the next calls: an error to raise, seconds to sleep, or the id of another bundle."""
        self.calls = 0

    def remote(self, images: bytes, count: int) -> asyncio.Task[Reply]:
        return asyncio.ensure_future(self._answer(images, count))

    async def _answer(self, images: bytes, count: int) -> Reply:
        self.calls += 1
        fault = self.faults.pop(0) if self.faults else 0.0
        if isinstance(fault, BaseException):
            raise fault
        if isinstance(fault, float):
            await asyncio.sleep(fault)
        reply = await self._submodels.features(images, count)
        return Reply(fault, reply.said, reply.waited) if isinstance(fault, str) else reply


class App:
    """One ensemble's application."""

    def __init__(self, bundle: str, **args: Any):
        self.args = EnsembleArgs.model_validate({"bundle": bundle} | args)
        self.ensemble: Ensemble = load_ensemble(bundle)
        self.groups = self.args.deployments(len(self.ensemble.manifest.submodels))
        self.handles = {
            name: Direct(SubModels(bundle, self.ensemble.id, indices)) for name, indices in self.groups.items()
        }
        self.telemetry = Telemetry()
        self.engine = Engine(self.ensemble, self.args, self.groups, self.handles, self.telemetry.heard)
        self.web = EnsembleRoutes(self.engine, self.args, self.groups, self.telemetry).app

    def client(self, address: str = "127.0.0.1") -> TestClient:
        return TestClient(self.web, client=(address, 50000))
