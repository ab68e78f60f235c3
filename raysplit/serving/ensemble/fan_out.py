"""Querying all deployments of sub-models at once, and handling those that do not answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError

from raysplit.ensemble.bundle import Ensemble
from raysplit.serving.ensemble.bundles import Bundles
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


@dataclass(frozen=True)
class FanOutResult:
    """What querying all deployments for a batch led to."""

    ensemble: Ensemble
    """That all outputs come from."""
    deployments: tuple[DeploymentResult, ...]


@dataclass(frozen=True)
class _Answer:
    """A deployment's reply, or why there is none."""

    reply: SubmodelReply | None
    missing: MissingReason | None
    total_s: float

    def is_from(self, ensemble: Ensemble) -> bool:
        return self.reply is None or self.reply.bundle_id == ensemble.id

    def result(self, deployment: str, ensemble: Ensemble) -> DeploymentResult:
        if self.reply is None:
            return DeploymentResult(deployment, (), self.missing, self.total_s, 0.0)
        if not self.is_from(ensemble):
            return DeploymentResult(deployment, (), "other bundle", self.total_s, self.reply.queue_s)
        return DeploymentResult(deployment, self.reply.outputs, None, self.total_s, self.reply.queue_s)


class DeploymentFanOut:
    """The deployments of an ensemble, each queried for every batch.

    While a new bundle is rolled out, some deployments have it already and others do not yet. The result is of the
    bundle that most sub-models answer with; deployments with another one are queried again, then they are missing.

    Args:
        handles: of the deployments, by name.
        bundles: the ensembles that an answer may be of; the application's own is preferred if as many sub-models
            answer with another.
        missing: what happens to deployments that do not answer, as in `EnsembleArgs`.
        timeout_s: how long a deployment may take, retries included; ignored with `missing="wait"`.
    """

    def __init__(
        self,
        handles: Mapping[str, Handle],
        bundles: Bundles,
        missing: Literal["wait", "drop", "fail"],
        timeout_s: float,
    ):
        self._handles, self._bundles = handles, bundles
        self._wait = missing == "wait"
        self._timeout_s = None if self._wait else timeout_s

    async def query(self, images: bytes, count: int) -> FanOutResult:
        """Return the result of every deployment for packed uint8 images (count, C, H, W).

        A deployment that does not answer is a result too, not an exception.
        """
        start, attempts, pause_s = time.perf_counter(), 1, _FIRST_PAUSE_S
        answers = await self._query_deployments(self._handles, images, count, start)
        while True:
            ensemble = await self._choose_ensemble(answers.values())
            others = [name for name, answer in answers.items() if not answer.is_from(ensemble)]
            if not others or (not self._wait and attempts == _MAX_ATTEMPTS):
                results = tuple(answer.result(name, ensemble) for name, answer in answers.items())
                return FanOutResult(ensemble, results)
            await asyncio.sleep(pause_s)
            attempts, pause_s = attempts + 1, min(2 * pause_s, _MAX_PAUSE_S)
            # Replicas of the bundle that most had may be gone by now, so who waits for all asks all of them.
            again = await self._query_deployments(self._handles if self._wait else others, images, count, start)
            answers |= {name: answer for name, answer in again.items() if answer.reply is not None}

    async def _choose_ensemble(self, answers: Iterable[_Answer]) -> Ensemble:
        """Return the ensemble that most of the sub-models that answered belong to."""
        own = self._bundles.own
        ensembles, counts = {own.id: own}, Counter({own.id: 0})
        for reply in (answer.reply for answer in answers):
            if reply and (ensemble := await self._bundles.find(reply.bundle_id, reply.location)):
                ensembles[ensemble.id] = ensemble
                counts[ensemble.id] += len(reply.outputs)
        return ensembles[max(counts, key=lambda bundle_id: (counts[bundle_id], bundle_id == own.id))]

    async def _query_deployments(
        self, names: Iterable[str], images: bytes, count: int, start: float
    ) -> dict[str, _Answer]:
        names = tuple(names)
        answers = await asyncio.gather(*(self._query_deployment(name, images, count, start) for name in names))
        return dict(zip(names, answers, strict=True))

    async def _query_deployment(self, name: str, images: bytes, count: int, start: float) -> _Answer:
        reply: SubmodelReply | None = None
        missing: MissingReason | None = None
        query = asyncio.ensure_future(self._query_with_retries(name, images, count))
        left_s = None if self._timeout_s is None else start + self._timeout_s - time.perf_counter()
        try:
            await asyncio.wait({query}, timeout=left_s)
        finally:
            in_time = query.done()
            query.cancel()
        if not in_time:
            missing = "late"
        elif query.cancelled():
            missing = "failed"
        else:
            reply, missing = query.result()
        return _Answer(reply, missing, time.perf_counter() - start)

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
        if invalid := [output.index for output in reply.outputs if not output.is_finite]:
            _log.error("sub-model %s of deployment %s computes probabilities that are not finite", invalid[0], name)
            return None, "failed"
        return reply, None
