"""An ensemble composed as in Ray Serve's tutorials: JSON lists, one call per request and sub-model, no batching, all
settings at their defaults."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import torch
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request

from raysplit.ensemble.bundle import load_ensemble

_ACTOR = {"num_cpus": 0.1}


class Submodel:
    """One sub-model: takes an image as lists, returns features as a list."""

    def __init__(self, bundle: str, index: int):
        self._ensemble, self._index = load_ensemble(bundle), index

    def __call__(self, image: list[list[list[int]]]) -> list[float]:
        x = self._ensemble.normalize(torch.tensor([image], dtype=torch.uint8))
        features: list[float] = self._ensemble.predict_submodel(self._index, x).features[0].tolist()
        return features


@serve.deployment(name="Ingress", ray_actor_options=_ACTOR)
class Fusion:
    """Queries all sub-models and fuses their features."""

    def __init__(self, bundle: str, *handles: DeploymentHandle[Any]):
        self._ensemble, self._handles = load_ensemble(bundle), handles

    async def __call__(self, request: Request) -> dict[str, list[float]]:
        image = (await request.json())["image"]
        features = await asyncio.gather(*(handle.remote(image) for handle in self._handles))
        return {"probabilities": self._ensemble.fuse([torch.tensor([row]) for row in features])[0].tolist()}


def build(args: dict[str, Any]) -> Application:
    """Return the composition of the sub-models in a `bundle`."""
    count = len(load_ensemble(args["bundle"]).manifest.submodels)
    submodel = serve.deployment(ray_actor_options=_ACTOR)(Submodel)
    handles = (submodel.options(name=f"plain-{index}").bind(args["bundle"], index) for index in range(count))
    return cast(Application, Fusion.bind(args["bundle"], *handles))  # type: ignore[attr-defined]
