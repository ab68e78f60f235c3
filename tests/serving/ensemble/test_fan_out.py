"""Querying deployments: retries, and why sub-models are missing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

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


class Known:
    """Ensembles that can be loaded: the application's own, `id`, and `new`."""

    own = SimpleNamespace(id="id")

    async def find(self, bundle_id, location):
        return SimpleNamespace(id=bundle_id) if bundle_id in ("id", "new") else None


def query_all(missing="drop", timeout_s=5.0, **handles):
    return asyncio.run(DeploymentFanOut(handles, Known(), missing, timeout_s).query(b"", 1))


def query(*args, **more) -> tuple[DeploymentResult, ...]:
    return query_all(*args, **more).deployments


def reply(bundle_id="id", output=OUTPUT):
    return SubmodelReply(bundle_id, f"bundles/{bundle_id}", (output,), queue_s=0.5)


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
        (reply("unknown"), "other bundle"),
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


OLD, NEW = reply(), reply("new")


@pytest.mark.parametrize(
    ("a", "b", "c", "bundle", "reasons"),
    [
        ([NEW], [NEW], [NEW], "new", [None, None, None]),
        ([OLD], [NEW, NEW], [OLD], "id", [None, "other bundle", None]),
        ([NEW], [OLD, OLD], [NEW], "new", [None, "other bundle", None]),
        ([NEW], [OLD, NEW], [NEW], "new", [None, None, None]),
        ([NEW, NEW], [OLD], [ActorDiedError()] * 2, "id", ["other bundle", None, "dead"]),
        ([OLD, BackPressureError(1, 1), OLD], [NEW], [NEW], "new", ["other bundle", None, None]),
        ([reply("unknown")] * 2, [reply("unknown")] * 2, [OLD], "id", ["other bundle", "other bundle", None]),
    ],
)
def test_an_answer_is_of_the_bundle_that_most_sub_models_have(a, b, c, bundle, reasons):
    handles = {"a": Scripted(*a), "b": Scripted(*b), "c": Scripted(*c)}
    result = query_all(**handles)
    assert result.ensemble.id == bundle and [each.missing for each in result.deployments] == reasons
    assert [len(each.outputs) for each in result.deployments] == [int(reason is None) for reason in reasons]
    assert not any(handle.replies for handle in handles.values())


def test_who_waits_for_all_sub_models_gets_one_bundle():
    handles = {"a": Scripted(OLD, OLD, NEW), "b": Scripted(NEW, NEW, NEW), "c": Scripted(OLD, NEW, NEW)}
    result = query_all("wait", **handles)
    assert result.ensemble.id == "new" and [each.missing for each in result.deployments] == [None] * 3


def test_a_late_call_is_cancelled():
    handle = Scripted(None)
    [result] = query(timeout_s=0.05, a=handle)
    assert result.missing == "late" and handle.cancelled == 1


def test_transfer_is_what_the_replica_does_not_account_for():
    result = DeploymentResult("a", (OUTPUT,), None, total_s=2.0, queue_s=0.5)
    assert result.transfer_s == pytest.approx(1.25)
    assert DeploymentResult("a", (OUTPUT,), None, total_s=0.1, queue_s=0.5).transfer_s == 0.0
