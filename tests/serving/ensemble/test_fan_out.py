"""Querying deployments: retries, and why sub-models are missing."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from raysplit.serving.ensemble.fan_out import DeploymentFanOut, DeploymentResult
from raysplit.serving.ensemble.submodels import SubmodelOutput, SubmodelReply

OUTPUT = SubmodelOutput(0, b"features", np.array([0.25, 0.75], np.float32).tobytes(), compute_s=0.25)
INVALID = SubmodelOutput(0, b"features", np.array([0.25, np.inf], np.float32).tobytes(), compute_s=0.25)


class Scripted:
    """A handle whose calls end as planned: with a reply, an error, or never."""

    def __init__(self, *replies):
        self.replies, self.calls, self.cancelled = list(replies), 0, 0
        self.features = self

    def remote(self, images, count):
        self.calls += 1
        return asyncio.ensure_future(self._answer(self.replies.pop(0)))

    async def _answer(self, reply):
        if isinstance(reply, Exception):
            raise reply
        if reply is None:
            try:
                await asyncio.sleep(60)
            finally:
                self.cancelled += 1
        return reply


def query(missing="drop", timeout_s=5.0, **handles) -> list[DeploymentResult]:
    return asyncio.run(DeploymentFanOut(handles, "id", missing, timeout_s).query(b"", 1))


def reply(bundle_id="id", output=OUTPUT):
    return SubmodelReply(bundle_id, (output,), queue_s=0.5)


def test_results_come_in_the_order_of_the_deployments():
    first, second = query(a=Scripted(reply()), b=Scripted(reply()))
    assert (first.deployment, second.deployment) == ("a", "b")
    assert first.outputs == (OUTPUT,) and first.missing is None and first.queue_s == 0.5


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (ActorDiedError(), "dead"),
        (BackPressureError(1, 1), "overloaded"),
        (ValueError("injected"), "failed"),
        (reply(output=INVALID), "failed"),
        (reply("other"), "other bundle"),
    ],
)
def test_a_deployment_is_queried_twice(fault, reason):
    handle = Scripted(fault, fault)
    [result] = query(a=handle)
    assert (result.missing, result.outputs, handle.calls) == (reason, (), 2)
    [result] = query(a=Scripted(fault, reply()))
    assert result.missing is None
    handle = Scripted(fault, fault, fault, reply())
    [result] = query("wait", a=handle)
    assert result.missing is None and handle.calls == 4


def test_a_late_call_is_cancelled():
    handle = Scripted(None)
    [result] = query(timeout_s=0.05, a=handle)
    assert result.missing == "late" and handle.cancelled == 1


def test_transfer_is_what_the_replica_does_not_account_for():
    result = DeploymentResult("a", (OUTPUT,), None, total_s=2.0, queue_s=0.5)
    assert result.transfer_s == pytest.approx(1.25)
    assert DeploymentResult("a", (OUTPUT,), None, total_s=0.1, queue_s=0.5).transfer_s == 0.0
