"""Asking every deployment of sub-models at once, and what to do about those that do not answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError

from raysplit.serving.ensemble.submodels import Reply, SubmodelOutput

Reason = Literal["late", "overloaded", "dead", "other bundle", "failed"]
_AGAIN_S, _LONGEST_S = 0.05, 1.0
"""Pause before a deployment is asked again; it doubles each time, up to the second."""
_TRIES = 2
"""Times that a deployment is asked, unless it is waited for."""
_log = logging.getLogger("ray.serve")


class Handle(Protocol):
    """A Serve handle to a `SubModels` deployment."""

    features: Any


@dataclass(frozen=True)
class DeploymentResult:
    """What came of asking one deployment."""

    name: str
    said: tuple[SubmodelOutput, ...]
    """Empty: its sub-models are missing."""
    reason: Reason | None
    """Why they are."""
    seconds: float
    """From question to answer."""
    waited: float
    """Of these, behind other batches in the replica."""

    @property
    def transfer(self) -> float:
        """Seconds in which the replica neither computed nor waited."""
        return max(0.0, self.seconds - self.waited - sum(said.seconds for said in self.said))


class DeploymentFanOut:
    """The deployments of one ensemble, as the replica that asks them sees them."""

    def __init__(
        self, handles: Mapping[str, Handle], bundle_id: str, missing: Literal["wait", "drop", "fail"], timeout_s: float
    ):
        self._handles, self._bundle = handles, bundle_id
        self._wait = missing == "wait"
        self._timeout = None if self._wait else timeout_s

    async def ask(self, images: bytes, count: int) -> list[DeploymentResult]:
        """Return what every deployment says of packed uint8 images; never raises for one that does not answer."""
        return await asyncio.gather(*(self._ask(name, images, count) for name in self._handles))

    async def _ask(self, name: str, images: bytes, count: int) -> DeploymentResult:
        start = time.perf_counter()
        reply: Reply | None = None
        reason: Reason | None = None
        asking = asyncio.ensure_future(self._insist(name, images, count))
        try:
            await asyncio.wait({asking}, timeout=self._timeout)
        finally:
            in_time = asking.done()
            asking.cancel()
        if not in_time:
            reason = "late"
        elif asking.cancelled():
            reason = "failed"
        else:
            reply, reason = asking.result()
        seconds = time.perf_counter() - start
        return DeploymentResult(name, reply.said if reply else (), reason, seconds, reply.waited if reply else 0.0)

    async def _insist(self, name: str, images: bytes, count: int) -> tuple[Reply | None, Reason | None]:
        """Ask, and ask again: a forward pass can be repeated, and another replica may do it."""
        tries, pause = 0, _AGAIN_S
        while True:
            reply, reason = await self._once(name, images, count)
            tries += 1
            if reason is None or (not self._wait and tries == _TRIES):
                return reply, reason
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_S)

    async def _once(self, name: str, images: bytes, count: int) -> tuple[Reply | None, Reason | None]:
        try:
            response = self._handles[name].features.remote(images, count)
            try:
                reply: Reply = await response
            except asyncio.CancelledError:
                response.cancel()  # Serve goes on with a call that nobody awaits
                raise
        except RequestCancelledError:  # what local testing mode makes of a call that was given up
            raise asyncio.CancelledError from None
        except BackPressureError:
            return None, "overloaded"
        except (RayActorError, DeploymentUnavailableError):
            return None, "dead"
        except Exception:
            _log.exception("deployment %s failed", name)
            return None, "failed"
        if reply.bundle != self._bundle:
            return None, "other bundle"
        if strange := [said.index for said in reply.said if not said.finite]:
            _log.error("sub-model %s of deployment %s answers with no number", strange[0], name)
            return None, "failed"
        return reply, None
