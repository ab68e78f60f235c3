"""A replica of sub-models."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
import torch

from raysplit.ensemble.bundle import load_ensemble
from raysplit.errors import ModelError
from raysplit.serving.ensemble.submodels import SubmodelDeployment


@pytest.fixture(scope="module")
def ensemble(tiny_ensemble):
    return load_ensemble(str(tiny_ensemble / "bundle"))


@pytest.fixture
def replica(ensemble):
    return SubmodelDeployment(ensemble.location, ensemble.id, [2, 0])


IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8))


def test_features_and_probabilities_are_those_of_the_bundle(replica, ensemble):
    reply = asyncio.run(replica.features(IMAGES.numpy().tobytes(), 3))
    assert reply.bundle_id == ensemble.id and [output.index for output in reply.outputs] == [2, 0]
    for output in reply.outputs:
        expected = ensemble.predict_submodel(output.index, ensemble.normalize(IMAGES))
        features, probabilities = expected.features, expected.probabilities
        part = ensemble.manifest.submodels[output.index]
        sent = torch.frombuffer(bytearray(output.features), dtype=torch.bfloat16).view(3, part.features)
        assert torch.equal(sent, features)
        np.testing.assert_array_equal(
            np.frombuffer(output.probabilities, np.float32).reshape(3, -1), probabilities.numpy()
        )
        assert probabilities.shape[1] == len(part.classes) + part.rest and output.compute_s > 0


def test_batches_wait_for_each_other(replica):
    async def both():
        data = IMAGES.numpy().tobytes()
        return await asyncio.gather(*(replica.features(data, 3) for _ in range(4)))

    replies = asyncio.run(both())
    assert replies[-1].queue_s > replies[0].queue_s
    assert len({reply.outputs[0].features for reply in replies}) == 1


def test_the_health_check_is_a_forward_pass(replica, ensemble):
    asyncio.run(replica.check_health())
    with torch.no_grad():
        next(replica._ensemble.submodel(0).head.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="sub-model 0 of .* computes probabilities that are not finite"):
        asyncio.run(replica.check_health())


def test_the_health_check_of_a_busy_replica_computes_nothing(replica):
    replica._executor._pending = 1
    with torch.no_grad():
        next(replica._ensemble.submodel(0).head.parameters()).fill_(float("nan"))
    asyncio.run(replica.check_health())


def test_a_batch_that_hangs_fails_the_health_check(replica, monkeypatch):
    monkeypatch.setattr("raysplit.serving.serial_executor.HUNG_AFTER_S", 0.05)
    release = threading.Event()
    monkeypatch.setattr(replica, "_run_submodel", lambda index, x: release.wait(10))

    async def run():
        call = asyncio.ensure_future(replica.features(bytes(64), 1))
        await asyncio.sleep(0)
        await replica.check_health()
        await asyncio.sleep(0.1)
        with pytest.raises(ModelError, match="takes longer than"):
            await replica.check_health()
        release.set()
        await call

    asyncio.run(run())
