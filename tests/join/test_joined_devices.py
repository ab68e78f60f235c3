"""Devices behind a gateway: the weights and bytes of the same devices in one process, whatever happens to the link."""

from __future__ import annotations

import pytest

from raysplit.train.local_device import make_local_devices
from raysplit.train.loop import Loop
from tests.join.rig import gateway
from tests.join.runs import joined_config, near
from tests.train.test_devices import MODES, assert_same


def assert_equal_runs(far: Loop, known: Loop) -> None:
    for row, other in zip(far.epochs(), known.epochs(), strict=True):
        assert row.bytes == other.bytes and row.train_loss == other.train_loss
    for side in ("device", "server"):
        assert_same(far.weights()[side], known.weights()[side])


@pytest.mark.parametrize("mode", MODES)
def test_joined_devices_train_to_the_weights_of_local_ones(tmp_path, mode):
    config = joined_config(mode)
    with gateway(tmp_path) as rig:
        for name in ("kitchen", "attic"):
            rig.join(name)
        far = Loop(config, rig.stand_ins(config))
        assert_equal_runs(far, Loop(near(config), make_local_devices(near(config))))
        assert far.facts.node == "attic, kitchen"
    assert rig.ended == {"attic": "the run has ended", "kitchen": "the run has ended"}
