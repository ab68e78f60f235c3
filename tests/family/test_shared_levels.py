"""Levels in one module compute as halves of their own do; what they have in common is there once."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from raysplit.errors import BundleError
from raysplit.family.shared_levels import SharedLevels
from raysplit.torch_utils.compute import autocast

CPU = torch.device("cpu")


def linear_state(weight: float, bias: float = 0.5) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((3, 3), weight), "bias": torch.full((3,), bias)}


def storages(levels: SharedLevels) -> dict[int, int]:
    """Return the bytes of all storages of all levels by identity."""
    tensors = [tensor for slots in levels._levels.values() for _, _, tensor in slots]
    return {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}


def count_modules() -> int:
    gc.collect()
    return sum(isinstance(thing, nn.Module) for thing in gc.get_objects())


@pytest.mark.parametrize("side", ["device", "server"])
def test_each_level_computes_as_a_half_of_its_own(family, side):
    levels = getattr(family, f"{side}_levels")(CPU)
    assert levels.names == tuple(entry.level for entry in family.levels)
    train, shape = family.config.train, family.manifest.shape if side == "device" else family.manifest.code_shape
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    if train.channels_last:
        x = x.to(memory_format=torch.channels_last)
    for name in (*levels.names, *reversed(levels.names)):
        alone = getattr(family, side)(name)
        if train.channels_last:
            alone = alone.to(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(CPU, train.precision):
            assert levels.at(name)(x).equal(alone(x))
        state = levels.at(name).state_dict()
        assert all(tensor.equal(state[key]) for key, tensor in alone.state_dict().items())


def test_a_further_level_takes_the_memory_of_its_own_weights(family):
    before = count_modules()
    one = family.device(family.levels[0].level)
    modules_of_one = count_modules() - before
    levels = family.device_levels(CPU)
    assert count_modules() - before == 2 * modules_of_one  # `one`, and all levels together
    states = [family.device(name).state_dict().values() for name in levels.names]
    distinct = {
        (tensor.dtype, tensor.shape, bytes(tensor.numpy().tobytes())): tensor.nbytes for t in states for tensor in t
    }
    assert sum(storages(levels).values()) == sum(distinct.values())
    assert len(one.state_dict()) * len(levels.names) > len(distinct)


def test_equal_tensors_are_stored_once():
    levels = SharedLevels(nn.Linear(3, 3), CPU, channels_last=False)
    levels.add("loose", linear_state(1.0))
    levels.add("tight", linear_state(2.0))
    levels.add("tightest", linear_state(2.0, bias=0.25))
    assert sorted(storages(levels).values()) == [12, 12, 36, 36]
    assert [levels.at(name)(torch.ones(3))[0].item() for name in levels.names] == [3.5, 6.5, 6.25]


def test_a_parameter_and_a_buffer_of_the_same_values_stay_what_they_are():
    levels = SharedLevels(nn.BatchNorm1d(4).eval(), CPU, channels_last=False)
    levels.add("only", nn.BatchNorm1d(4).state_dict())
    norm = levels.at("only")
    assert [name for name, _ in norm.named_parameters()] == ["weight", "bias"]
    assert {name for name, _ in norm.named_buffers()} == {"running_mean", "running_var", "num_batches_tracked"}
    assert norm.weight.data_ptr() == norm.running_var.data_ptr() != norm.bias.data_ptr()


def test_a_state_that_does_not_fit_and_a_level_that_is_not_there():
    levels = SharedLevels(nn.Linear(3, 3), CPU, channels_last=False)
    levels.add("loose", linear_state(1.0))
    levels.at("loose")
    with pytest.raises(RuntimeError, match="Missing key"):
        levels.add("tight", {"weight": torch.zeros(3, 3)})
    with pytest.raises(KeyError):
        levels.at("tight")
    assert levels.names == ("loose",) and levels.at("loose")(torch.ones(3))[0].item() == 3.5


def test_a_damaged_level_is_named(family, monkeypatch):
    read = family._read
    monkeypatch.setattr(family, "_read", lambda *args: dict(list(read(*args).items())[1:]))
    with pytest.raises(
        BundleError, match=r"^levels/0.safetensors of family .* does not fit its config.json: .*Missing"
    ):
        family.device_levels(CPU)
