"""Devices behind a gateway: the weights and bytes of the same devices in one process, whatever happens to the link."""

from __future__ import annotations

import pickle
import shutil
from functools import partial

import pytest
import torch

from raysplit.config import SplitConfig
from raysplit.join.store import StateStore
from raysplit.train.local_device import make_local_devices
from raysplit.train.loop import Loop
from tests.join.rig import Rig, gateway
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


def known_run(config: SplitConfig) -> Loop:
    return Loop(near(config), make_local_devices(near(config)))


@pytest.mark.parametrize("own_state", [True, False])
def test_a_device_that_is_killed_goes_on_from_its_own_disk(tmp_path, monkeypatch, own_state):
    """Its state crosses only where its disk is empty."""
    config = joined_config("merged", epochs=2)
    found: list[bool] = []
    find = StateStore.find

    def finding(store: StateStore, sha256: str) -> bytes | None:
        state = find(store, sha256)
        found.append(state is not None)
        return state

    monkeypatch.setattr(StateStore, "find", finding)
    with gateway(tmp_path) as rig:
        links = {name: rig.join(name) for name in ("attic", "kitchen")}

        def kill(epoch: int, step: int, steps: int, loss: float) -> None:
            if (epoch, step) == (1, 2) and "kitchen" in links:
                links.pop("kitchen").close()
                if not own_state:
                    shutil.rmtree(tmp_path / "kitchen")
                rig.join("kitchen")

        replace = partial(restart, rig, config)
        far = Loop(config, rig.stand_ins(config), kill, replace_device=replace)
        assert_equal_runs(far, known_run(config))
        assert "kitchen" not in links and found == [own_state]
    assert rig.ended == {"attic": "the run has ended", "kitchen": "the run has ended"}


def restart(rig: Rig, config: SplitConfig, index: int):
    return rig.stand_in(config, index, ("attic", "kitchen")[index])


@pytest.mark.parametrize("mode", ["splitfed_v2", "merged"])
def test_a_run_over_connections_that_keep_dropping(tmp_path, mode):
    config = joined_config(mode)
    with gateway(tmp_path) as rig:
        for name in ("attic", "kitchen"):
            rig.join(name, lambda name=name: rig.dial(name, cut_after=15, half_open=name == "attic"))
        assert_equal_runs(Loop(config, rig.stand_ins(config)), known_run(config))


def test_nothing_is_unpickled_on_either_side(tmp_path, monkeypatch):
    """Not even the state of a device that is started again."""
    config = joined_config("relay", epochs=2)
    known = known_run(config)
    list(known.epochs())

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    with gateway(tmp_path) as rig:
        links = {name: rig.join(name) for name in ("attic", "kitchen")}

        def kill(epoch: int, step: int, steps: int, loss: float) -> None:
            if (epoch, step) == (1, 2) and "attic" in links:
                links.pop("attic").close()
                rig.join("attic")

        for module, name in ((pickle, "loads"), (pickle, "load"), (pickle, "Unpickler"), (torch, "load")):
            monkeypatch.setattr(module, name, refuse)
        far = Loop(config, rig.stand_ins(config), kill, replace_device=partial(restart, rig, config))
        list(far.epochs())
        weights = far.weights()
        monkeypatch.undo()
        assert not links.keys() - {"kitchen"}
        for side in ("device", "server"):
            assert_same(weights[side], known.weights()[side])
