"""Which networks sub-models can be cut out of."""

from __future__ import annotations

import pytest
import torch

from raysplit.config import ModelConfig
from raysplit.ensemble.prunable.base import prunable_network
from raysplit.errors import ModelError
from raysplit.models import build

SHAPE = (3, 32, 32)
VIT = {"patch": 8, "width": 24, "depth": 1, "heads": 3}
SMALL = {"vit": VIT, "vit_tiny_patch16_224": {"depth": 1}, "vgg11": {"width": 0.125}, "spiking_vgg5": {"width": 0.25}}


@pytest.mark.parametrize(
    ("name", "kind", "steps"),
    [("vit", "vit", 3), ("vit_tiny_patch16_224", "vit", 3), ("vgg11", "cnn", 16), ("spiking_vgg5", "snn", 16)],
)
def test_three_kinds(name, kind, steps):
    if kind == "snn":
        pytest.importorskip("spikingjelly")
    network = prunable_network(build(ModelConfig(name=name, args=SMALL[name]), 5, SHAPE), SHAPE)
    assert (network.kind, network.size_steps) == (kind, steps)
    x, units = torch.randn(2, *SHAPE), network.units()
    with torch.no_grad():
        torch.testing.assert_close(network.forward_masked(x, {}), network.model(x))
    kept = network.select_units({group: torch.rand(count) for group, count in units.items()}, steps)
    assert {group: len(chosen) for group, chosen in kept.items()} == units
    whole = network.shrink(kept, steps, None, rest=False).eval()
    with torch.no_grad():
        torch.testing.assert_close(whole(x), network.model(x))
    assert type(whole) is type(network.model)
    assert network.shrink(kept, steps, [4, 2], rest=True).eval()(x).shape == (2, 3)


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16"])
def test_other_networks_are_refused(name):
    with pytest.raises(ModelError) as err:
        prunable_network(build(ModelConfig(name=name), 5, SHAPE), SHAPE)
    assert str(err.value) == (
        f"sub-models cannot be cut out of {name}: use a timm ViT (vit, vit_tiny_patch16_224, …), "
        "vgg5, …, or spiking_vgg5, …"
    )
