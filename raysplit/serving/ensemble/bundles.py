"""The ensembles that an ingress answers with: its own, and another while a new bundle is rolled out."""

from __future__ import annotations

import asyncio
import logging

from raysplit.ensemble.bundle import Ensemble
from raysplit.errors import RaysplitError
from raysplit.serving.ensemble.submodels import load_deployed_ensemble

_log = logging.getLogger("ray.serve")


class Bundles:
    """The application's own ensemble, and those that sub-models of an older or newer bundle belong to.

    Replicas of sub-models and of the ingress are replaced independently of each other, and some seconds apart.
    """

    def __init__(self, own: Ensemble):
        self.own = own
        self._others: dict[str, asyncio.Task[Ensemble | None]] = {}

    async def find(self, bundle_id: str, location: str) -> Ensemble | None:
        """Return the ensemble with an id, loaded once from its location.

        None if it cannot be loaded by this replica, or is for images of another shape, or other recordings.
        """
        if bundle_id == self.own.id:
            return self.own
        if bundle_id not in self._others:
            self._others[bundle_id] = asyncio.create_task(self._load(bundle_id, location))
        return await asyncio.shield(self._others[bundle_id])  # others wait for it, whoever goes away

    async def _load(self, bundle_id: str, location: str) -> Ensemble | None:
        try:
            other = await asyncio.to_thread(load_deployed_ensemble, location, bundle_id, (), True)
            _ = await asyncio.to_thread(lambda: other.fusion)
        except (RaysplitError, OSError) as err:
            _log.warning("sub-models have another bundle, which this replica cannot load: %s", err)
            return None
        if other.manifest.input != self.own.manifest.input:
            _log.warning("sub-models have bundle %s, which is for other inputs", bundle_id[:12])
            return None
        return other
