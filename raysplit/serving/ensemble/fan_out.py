"""Querying all deployments of sub-models at once, and handling those that do not answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError

from raysplit.serving.ensemble.submodels import SubmodelOutput, SubmodelReply

MissingReason = Literal["late", "overloaded", "dead", "other bundle", "failed"]
"""Why the sub-models of a deployment are missing from an answer."""
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.05, 1.0
"""Pause before a deployment is queried again; it doubles every time, up to the maximum."""
_MAX_ATTEMPTS = 2
"""How often a deployment is queried, unless `missing` is `wait`."""
_log = logging.getLogger("ray.serve")


class Call(Awaitable[SubmodelReply], Protocol):
    """A remote call under way."""

    def cancel(self) -> object:
        """Stop the call."""
        ...


class FeaturesMethod(Protocol):
    """The remote method `SubmodelDeployment.features`."""

    def remote(self, images: bytes, count: int) -> Call:
        """Start a call with packed uint8 images (count, C, H, W)."""
        ...


class Handle(Protocol):
    """What is needed of a handle to a `SubmodelDeployment`; Serve's `DeploymentHandle` is one."""

    @property
    def features(self) -> FeaturesMethod: ...


@dataclass(frozen=True)
class DeploymentResult:
    """What querying one deployment led to.

    >>> DeploymentResult("submodel-1", (), "late", total_s=2.0, queue_s=0.0).missing
    'late'
    """

    deployment: str
    outputs: tuple[SubmodelOutput, ...]
    """Empty if its sub-models are missing."""
    missing: MissingReason | None
    """Why they are; None if they answered."""
    total_s: float
    """From query to reply."""
    queue_s: float
    """The part of it spent waiting for other batches in the replica."""

    @property
    def transfer_s(self) -> float:
        """The part of `total_s` in which the replica neither computed nor had the batch in its queue."""
        return max(0.0, self.total_s - self.queue_s - sum(output.compute_s for output in self.outputs))


class DeploymentFanOut:
    """The deployments of an ensemble, each queried for every batch.

    Args:
        handles: of the deployments, by name.
        bundle_id: of the ensemble; replies from any other are discarded.
        missing: what happens to deployments that do not answer, as in `EnsembleArgs`.
        timeout_s: how long a deployment may take, retries included; ignored with `missing="wait"`.
    """

    def __init__(
        self, handles: Mapping[str, Handle], bundle_id: str, missing: Literal["wait", "drop", "fail"], timeout_s: float
    ):
        self._handles, self._bundle_id = handles, bundle_id
        self._wait = missing == "wait"
        self._timeout_s = None if self._wait else timeout_s

    async def query(self, images: bytes, count: int) -> list[DeploymentResult]:
        """Return the result of every deployment for packed uint8 images (count, C, H, W).

        A deployment that does not answer is a result too, not an exception.
        """
        return await asyncio.gather(*(self._query_deployment(name, images, count) for name in self._handles))

    async def _query_deployment(self, name: str, images: bytes, count: int) -> DeploymentResult:
        start = time.perf_counter()
        reply: SubmodelReply | None = None
        missing: MissingReason | None = None
        query = asyncio.ensure_future(self._query_with_retries(name, images, count))
        try:
            await asyncio.wait({query}, timeout=self._timeout_s)
        finally:
            in_time = query.done()
            query.cancel()
        if not in_time:
            missing = "late"
        elif query.cancelled():
            missing = "failed"
        else:
            reply, missing = query.result()
        total_s = time.perf_counter() - start
        if reply is None:
            return DeploymentResult(name, (), missing, total_s, 0.0)
        return DeploymentResult(name, reply.outputs, missing, total_s, reply.queue_s)

    async def _query_with_retries(
        self, name: str, images: bytes, count: int
    ) -> tuple[SubmodelReply | None, MissingReason | None]:
        """Query until there is a reply or no attempt left: a forward pass can be repeated, maybe by another replica."""
        attempts, pause_s = 0, _FIRST_PAUSE_S
        while True:
            reply, missing = await self._query_once(name, images, count)
            attempts += 1
            if missing is None or (not self._wait and attempts == _MAX_ATTEMPTS):
                return reply, missing
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    async def _query_once(
        self, name: str, images: bytes, count: int
    ) -> tuple[SubmodelReply | None, MissingReason | None]:
        try:
            call = self._handles[name].features.remote(images, count)
            try:
                reply = await call
            except asyncio.CancelledError:
                call.cancel()  # Serve would go on with a call that nobody awaits
                raise
        except RequestCancelledError:  # raised for an abandoned call in local testing mode
            raise asyncio.CancelledError from None
        except BackPressureError:
            return None, "overloaded"
        except (RayActorError, DeploymentUnavailableError):
            return None, "dead"
        except Exception:
            _log.exception("deployment %s failed", name)
            return None, "failed"
        if reply.bundle_id != self._bundle_id:
            return None, "other bundle"
        if invalid := [output.index for output in reply.outputs if not output.is_finite]:
            _log.error("sub-model %s of deployment %s computes probabilities that are not finite", invalid[0], name)
            return None, "failed"
        return reply, None
