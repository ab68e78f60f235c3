import copy

import pytest
import timm
import torch
from torch import nn

from raysplit.errors import CutError
from raysplit.models import VGG
from raysplit.split import find_cuts, split_at, split_model
from tests.split.networks import FAMILIES, NETWORKS, SHAPE, SIZE, assert_composes
from tests.split.unsplit import insert_after


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def images(batch=2, shape=SHAPE):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("name", FAMILIES)
def test_halves_compose_bit_for_bit(name):
    model = NETWORKS[name]()
    cuts = find_cuts(model, SHAPE)
    for cut in (cuts[0], cuts[len(cuts) // 2], cuts[-1]):
        assert_composes(model, split_at(cuts, cut.name), images(4))


@pytest.mark.parametrize(
    "build",
    [
        lambda: VGG("vgg11", 5, width=0.125),
        lambda: timm.models.VisionTransformer(
            img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=5,
            drop_rate=0.1, pos_drop_rate=0.1, proj_drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.3,
        ),
    ],
    ids=["vgg11", "vit"],
)  # fmt: skip
def test_every_cut_composes(build):
    model = build()
    shape = (3, 32, 32)
    cuts = find_cuts(model, shape)
    for cut in cuts:
        assert_composes(model, split_at(cuts, cut.name), images(3, shape))


@pytest.mark.parametrize("name", ["deit", "swin", "shufflenet_v2_x0_5"])
def test_the_halves_share_out_the_state_of_the_model(name):
    model = NETWORKS[name]()
    cuts = find_cuts(model, SHAPE)
    halves = split_at(cuts, cuts[len(cuts) // 2].name)
    device, server = (half.state_dict(keep_vars=True) for half in (halves.device, halves.server))
    assert not device.keys() & server.keys()
    whole = model.state_dict(keep_vars=True)
    assert device.keys() | server.keys() == whole.keys()
    assert all(tensor is whole[name] for name, tensor in {**device, **server}.items())
    order = list(dict(model.named_parameters()))
    for half in (halves.device, halves.server):
        assert [key for key, _ in half.named_parameters()] == [k for k in order if k in half.state_dict()]


def test_running_statistics_are_those_of_the_model():
    model = NETWORKS["resnet18"]()
    twin = copy.deepcopy(model)
    halves = split_model(twin, SHAPE, "layer2.0")
    model(images())
    halves.server(halves.device(images()))
    found = {**halves.device.state_dict(), **halves.server.state_dict()}
    assert all(torch.equal(tensor, found[name]) for name, tensor in model.state_dict().items())


def test_parameters_in_no_graph_stay_with_the_server():
    model = tiny()
    model.spare = nn.Linear(2, 2)
    halves = split_model(model, (3, 8, 8), "conv")
    assert {"spare.weight", "spare.bias"} <= halves.server.state_dict().keys()


def test_halves_start_in_the_mode_of_the_model_and_do_not_change_it():
    model = tiny().eval()
    halves = split_model(model, (3, 8, 8), "conv")
    assert not halves.device.training and not halves.server.training and not model.training


class Tiny(nn.Module):
    def __init__(self, inplace):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.relu(self.conv(x).view(x.shape[0], 4, -1)).view(x.shape[0], 4, -1)
        return self.head(self.drop(self.relu(x)).mean(2))


def tiny(inplace=True):
    return Tiny(inplace)


@pytest.mark.parametrize("inplace", [True, False])
def test_the_server_clones_only_what_it_writes_into(inplace):
    halves = split_model(tiny(inplace), (3, 8, 8), "conv")
    assert ("clone" in ops(halves.server)) == inplace
    assert "clone" not in ops(split_model(tiny(inplace), (3, 8, 8), "drop").server)


def ops(half):
    """Names of the functions that a server half of Tiny calls."""
    seen = set()

    class Record(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.add(func.__name__)
            return func(*args, **(kwargs or {}))

    with Record():
        half(torch.randn(2, 4, 8, 8) if hasattr(half, "relu") else torch.randn(2, 4, 64))
    return seen


def test_deepcopy_and_to_work_on_a_half():
    halves = split_model(tiny(), (3, 8, 8), "conv")
    x = images(2, (3, 8, 8))
    twin = copy.deepcopy(halves.server.eval()).to(torch.float64)
    sent = halves.device.eval()(x)
    assert next(halves.server.parameters()).dtype == torch.float32
    torch.testing.assert_close(twin(sent.double()).float(), halves.server(sent))
    assert twin.train()(sent.double()).shape == (2, 2)


class Constants(nn.Module):
    """A constant buffer used on both sides, tensors made in forward, sizes and a device of the input."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1), persistent=False)

    def forward(self, x):
        batch, device = x.size(0), x.device
        x = self.first(x) * self.scale
        steps = torch.arange(2 * batch, device=device).view(batch, 2).sum(1)
        return self.last(x * self.scale + torch.tensor([0.5])) * steps.view(-1, 1, 1, 1)


@pytest.mark.parametrize("cut", ["first", "mul", "add"])
def test_constants_and_sizes_are_rebuilt_on_the_server(cut):
    model = Constants()
    halves = split_model(model, (3, 8, 8), cut)
    assert_composes(model, halves, images(5, (3, 8, 8)))
    assert not vars(model).keys() & {"_tensor_constant0"}


class NoisyBias(nn.Module):
    """Random numbers that do not depend on the pixels are drawn once, on the side and at the time they were."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.bias = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x):
        bias = nn.functional.dropout(self.bias, 0.5, self.training)
        return self.last(nn.functional.dropout(self.first(x) + bias, 0.5, self.training))


def test_random_numbers_are_drawn_in_the_order_of_the_model():
    model = NoisyBias()
    cuts = find_cuts(model, (3, 8, 8))
    assert [cut.name for cut in cuts] == ["add", "dropout#2"]
    for cut in cuts:
        assert_composes(model, split_at(cuts, cut.name), images(2, (3, 8, 8)))


def reseed(x):
    torch.manual_seed(3)
    return x


def test_a_call_inserted_at_the_cut_matches_the_halves():
    model = NETWORKS["vit_timm"]().train()
    halves = split_model(model, SHAPE, "blocks.0")
    whole = insert_after(model, SHAPE, "blocks.0", reseed)
    for training in (True, False):
        torch.manual_seed(1)
        expected = whole.train(training)(images())
        torch.manual_seed(1)
        sent = halves.device.train(training)(images())
        assert torch.equal(halves.server.train(training)(reseed(sent)), expected)
    assert whole.state_dict().keys() == model.state_dict().keys()


def test_a_name_that_is_not_a_cut_is_refused():
    with pytest.raises(CutError, match="cut 'stem' is not a cut of vgg11"):
        split_model(VGG("vgg11", 5, width=0.125), (3, SIZE, SIZE), "stem")
