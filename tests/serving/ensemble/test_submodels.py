"""A replica of sub-models."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
import torch

from raysplit.ensemble.bundle import load_ensemble
from raysplit.errors import ModelError
from raysplit.serving.ensemble.submodels import SubModels


@pytest.fixture(scope="module")
def ensemble(tiny_ensemble):
    return load_ensemble(str(tiny_ensemble / "bundle"))


@pytest.fixture
def replica(ensemble):
    return SubModels(ensemble.location, ensemble.id, [2, 0])


IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8))


def test_features_and_own_probabilities_are_those_of_the_bundle(replica, ensemble):
    reply = asyncio.run(replica.features(IMAGES.numpy().tobytes(), 3))
    assert reply.bundle == ensemble.id and [said.index for said in reply.said] == [2, 0]
    for said in reply.said:
        found = ensemble.predict_submodel(said.index, ensemble.normalize(IMAGES))
        features, own = found.features, found.probabilities
        part = ensemble.manifest.submodels[said.index]
        sent = torch.frombuffer(bytearray(said.features), dtype=torch.bfloat16).view(3, part.features)
        assert torch.equal(sent, features)
        np.testing.assert_array_equal(np.frombuffer(said.own, np.float32).reshape(3, -1), own.numpy())
        assert own.shape[1] == len(part.classes) + part.rest and said.seconds > 0


def test_batches_wait_for_each_other(replica):
    async def both():
        data = IMAGES.numpy().tobytes()
        return await asyncio.gather(*(replica.features(data, 3) for _ in range(4)))

    replies = asyncio.run(both())
    assert replies[-1].waited > replies[0].waited
    assert len({reply.said[0].features for reply in replies}) == 1


def test_health_is_a_forward_pass(replica, ensemble):
    asyncio.run(replica.check_health())
    with torch.no_grad():
        next(replica._ensemble.submodel(0).head.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="sub-model 0 of .* answers with no number"):
        asyncio.run(replica.check_health())


def test_a_busy_replica_is_not_asked_for_its_health(replica):
    replica._running = 1
    with torch.no_grad():
        next(replica._ensemble.submodel(0).head.parameters()).fill_(float("nan"))
    asyncio.run(replica.check_health())


def test_a_batch_that_hangs_is_no_health(replica, monkeypatch):
    monkeypatch.setattr("raysplit.serving.ensemble.submodels.HUNG_S", 0.05)
    go = threading.Event()
    monkeypatch.setattr(replica, "_say", lambda index, x: go.wait(10))

    async def run():
        asked = asyncio.ensure_future(replica.features(bytes(64), 1))
        await asyncio.sleep(0)
        await replica.check_health()
        await asyncio.sleep(0.1)
        with pytest.raises(ModelError, match="takes longer than"):
            await replica.check_health()
        go.set()
        await asked

    asyncio.run(run())
