"""Workers of virtual devices on Ray: the weights of real devices in one process."""

from __future__ import annotations

import pytest

from raysplit.train.loop import Loop
from raysplit.train.virtual_ray import RayVirtualDevices
from tests.train.many import many_config
from tests.train.test_devices import train
from tests.train.test_virtual_devices import assert_equal_runs, virtual

pytestmark = pytest.mark.ray


def test_workers_on_ray_end_with_the_weights_of_real_devices(shared_ray):
    for mode in ("merged", "fedavg"):
        config = many_config(mode, count=5, epochs=2, per_round=4, batch_norm="local")
        config = config.replaced(train=config.train.replaced(threads=1))
        devices = RayVirtualDevices(virtual(config, workers=2))
        try:
            loop = Loop(virtual(config, workers=2), devices)
            list(loop.epochs())
            assert_equal_runs(loop, train(config))
            state = loop.state()
            loop.restore(state)
            assert loop.state()["device"] == state["device"], "a checkpoint holds what all devices have of their own"
        finally:
            devices.close()
