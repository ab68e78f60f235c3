"""An ensemble as a composition that Ray Serve's tutorials would write: JSON lists, one call for each request and
sub-model, no batches, all settings left as they are."""

from __future__ import annotations

import asyncio
from typing import Any

import torch
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request

from raysplit.ensemble.bundle import load_ensemble

_ACTOR = {"num_cpus": 0.1}


class SubModel:
    """One sub-model: an image as lists in, features as lists out."""

    def __init__(self, bundle: str, index: int):
        self._ensemble, self._index = load_ensemble(bundle), index

    def __call__(self, image: list) -> list[float]:
        x = self._ensemble.normalize(torch.tensor([image], dtype=torch.uint8))
        return self._ensemble.predict_submodel(self._index, x).features[0].tolist()


@serve.deployment(name="Ingress", ray_actor_options=_ACTOR)
class Fusion:
    """Asks all sub-models and fuses what they say."""

    def __init__(self, bundle: str, *handles: DeploymentHandle):
        self._ensemble, self._handles = load_ensemble(bundle), handles

    async def __call__(self, request: Request) -> dict[str, list[float]]:
        image = (await request.json())["image"]
        features = await asyncio.gather(*(handle.remote(image) for handle in self._handles))
        return {"probabilities": self._ensemble.fuse([torch.tensor([one]) for one in features])[0].tolist()}


def build(args: dict[str, Any]) -> Application:
    """Return the composition of a `bundle`'s sub-models."""
    count = len(load_ensemble(args["bundle"]).manifest.submodels)
    submodel = serve.deployment(ray_actor_options=_ACTOR)(SubModel)
    parts = (submodel.options(name=f"plain-{index}").bind(args["bundle"], index) for index in range(count))
    return Fusion.bind(args["bundle"], *parts)  # type: ignore[attr-defined]
