"""Halves that are built alone are those that are built together, and cost their own memory."""

from __future__ import annotations

import logging

import pytest
import torch

from raysplit import recipes
from raysplit.config import UNCOMPRESSED, BottleneckConfig, DataConfig, Fixed, ModelConfig, SplitConfig, TrainConfig
from raysplit.errors import ConfigError, CutError, ModelError
from raysplit.torch_utils.deferred_init import held_tensors
from raysplit.train.halves import build_device_half, build_halves, build_server_half
from tests.torch_utils.memory import CountBytes
from tests.train.freezing import freezing_config

SHAPE = (3, 64, 64)
VIT = {"patch": 16, "width": 48, "depth": 2, "heads": 3}
MODELS = {
    "vgg11": ("vgg11", {"width": 0.25}, "features.7"),
    "vit": ("vit", VIT, "blocks.0"),
    "resnet18": ("resnet18", {}, "layer1.0"),
    "resnet_timm": ("timm:resnet10t", {}, "layer1"),
    "efficientnet_timm": ("timm:efficientnet_b0", {}, "blocks.1"),
    "convnext_timm": ("timm:convnext_atto", {}, "stages.0"),
}
BIG = ("efficientnet_timm", "convnext_timm")
OWN_MODELS = """
import torch
from torch import nn
from torchvision.models import convnext


class Network(nn.Module):
    def __init__(self, classes, shape):
        super().__init__()
        self.first = nn.Conv2d(shape[0], 8, 3, padding=1)
        nn.init.orthogonal_(self.first.weight)
        self.norm = nn.BatchNorm2d(8)
        self.register_buffer("scale", 2 * torch.rand(8, 1, 1), persistent=False)
        self.offset = torch.rand(8, 1, 1)
        self.second = nn.Conv2d(8, 16, 3, stride=4)
        nn.init.trunc_normal_(self.second.weight, std=1.0)
        features = self.second(self.norm(self.first(torch.zeros(2, *shape)))).flatten(1).shape[1]
        self.drop = nn.Dropout(0.1)
        self.shift = nn.Parameter(torch.dropout(torch.ones(16, 1, 1), 0.5, True))
        self.last = nn.Linear(features, classes)

    def forward(self, x):
        x = (self.norm(self.first(x)) * self.scale + self.offset).relu()
        x = (self.second(x) * self.scale.mean() + self.shift).relu()
        return self.last(self.drop(x.flatten(1)))


def small_convnext(classes, shape):
    blocks = [convnext.CNBlockConfig(16, 32, 1), convnext.CNBlockConfig(32, None, 1)]
    return convnext.ConvNeXt(blocks, 0.3, num_classes=classes)


def network(classes, shape):
    return Network(classes, shape)


def with_own_generator(classes, shape):
    model = Network(classes, shape)
    nn.init.normal_(model.last.weight, generator=torch.Generator().manual_seed(1))
    return model


def with_tensors_in_a_list(classes, shape):
    class Listed(Network):
        def __init__(self):
            super().__init__(classes, shape)
            self.listed = [torch.rand(1)]

        def forward(self, x):
            return super().forward(x * self.listed[0])

    return Listed()


def faulty(classes, shape):
    raise RuntimeError("no such network")
"""


def split_config(name: str, args: dict, cut: str, bottleneck: bool = True) -> SplitConfig:
    return SplitConfig(
        name="test",
        data=DataConfig(name="digits"),
        model=ModelConfig(name=name, args=args),
        cut=cut,
        bottleneck=BottleneckConfig() if bottleneck else None,
        schedule=Fixed(level=UNCOMPRESSED),
        train=TrainConfig(epochs=1, batch_size=32, seed=5),
    )


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN_MODELS)
    return lambda name, cut="relu": split_config(f"{path}:{name}", {}, cut)


def assert_same(found: torch.nn.Module, expected: torch.nn.Module) -> None:
    one, other = found.state_dict(), expected.state_dict()
    assert list(one) == list(other) and one
    assert all(torch.equal(tensor, other[key]) and tensor.dtype == other[key].dtype for key, tensor in one.items())
    for tensor, wanted in zip(held_tensors(found), held_tensors(expected), strict=True):
        assert torch.equal(tensor, wanted) and tensor.requires_grad == wanted.requires_grad


def assert_alone_as_together(config: SplitConfig, classes: int = 7, shape: tuple[int, int, int] = SHAPE) -> None:
    together = build_halves(config, classes, shape)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    device, server = build_device_half(config, classes, shape), build_server_half(config, classes, shape)
    assert torch.get_rng_state().equal(before)
    assert (device.cut, device.code_shape) == (server.cut, server.code_shape) == (together.cut, together.code_shape)
    assert_same(device.half, together.device)
    assert_same(server.half, together.server)
    x = torch.randn(2, *shape)
    for module in (device.half, server.half, together.device, together.server):
        module.eval()
    with torch.no_grad():
        assert server.half(device.half(x)).equal(together.server(together.device(x)))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in BIG else name for name in MODELS]
)
def test_a_half_that_is_built_alone(name, caplog):
    with caplog.at_level(logging.INFO, "raysplit"):
        assert_alone_as_together(split_config(*MODELS[name], bottleneck=name != "vit"))
    assert not caplog.records


@pytest.mark.parametrize(("name", "cut"), [("network", "relu"), ("small_convnext", "features.1")])
def test_a_model_of_ones_own(own, name, cut, caplog):
    with caplog.at_level(logging.INFO, "raysplit"):
        assert_alone_as_together(own(name, cut))
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("with_own_generator", "draws from a generator of its own"),
        ("with_tensors_in_a_list", "a tensor without values that was made elsewhere"),
    ],
)
def test_a_model_that_is_built_in_full(own, name, reason, caplog):
    with caplog.at_level(logging.INFO, "raysplit"):
        assert_alone_as_together(own(name))
    assert len(caplog.records) == 2
    assert all("is built in full" in text and reason in text for text in caplog.messages)


def test_the_local_head(squeezed):
    config = freezing_config(epochs=4)
    together = build_halves(config, 10, (1, 8, 8))
    device, server = build_device_half(config, 10, (1, 8, 8)), build_server_half(config, 10, (1, 8, 8))
    assert_same(device.head, together.head)
    assert_same(server.half.head, together.head.requires_grad_(False))
    assert_same(server.half, together.server)
    assert build_device_half(squeezed, 10, (1, 8, 8)).head is None


def own_bytes(half: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in half.state_dict().values())


def test_what_building_the_halves_of_a_recipe_allocates():
    """All that is ever made on the CPU counts, whether it is kept or not."""
    known = recipes.get("cifar10_vgg11_prune_raysplit"), 10, (3, 32, 32)
    with CountBytes() as device:
        half = build_device_half(*known).half
    assert own_bytes(half) <= device.total <= 1.2 * own_bytes(half)
    with CountBytes() as server:
        half = build_server_half(*known).half
    assert own_bytes(half) <= server.total <= 1.05 * own_bytes(half)
    with CountBytes() as neither:
        build_device_half(*known, init_weights=False)
        build_server_half(*known, init_weights=False)
    assert neither.total < 2**18


def test_without_weights_only_the_state_is_missing(own):
    config = own("network")
    expected = build_halves(config, 7, SHAPE)
    for build, half in ((build_device_half, expected.device), (build_server_half, expected.server)):
        bare = build(config, 7, SHAPE, init_weights=False).half
        state = bare.state_dict()
        assert state.keys() == half.state_dict().keys()
        assert all(tensor.is_meta for key, tensor in state.items() if not key.endswith("num_batches_tracked"))
        kept = {id(tensor) for tensor in bare.state_dict(keep_vars=True).values()}
        assert not any(tensor.is_meta for tensor in held_tensors(bare) if id(tensor) not in kept)
        bare.load_state_dict(half.state_dict(), assign=True)
        assert_same(bare, half)


def test_faults_are_those_of_the_model(own, squeezed):
    with pytest.raises(ModelError, match="cannot be built: RuntimeError: no such network"):
        build_device_half(own("faulty"), 7, SHAPE)
    with pytest.raises(CutError, match="cut 'head' is not a cut of"):
        build_server_half(own("network").replaced(cut="head"), 7, SHAPE)
    with pytest.raises(ConfigError, match="channels cross|keeps 999 channels"):
        build_device_half(squeezed.replaced(schedule=Fixed(level="c999.b4/b4")), 10, (1, 8, 8))
