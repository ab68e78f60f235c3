from functools import cache

import pytest
import torch
from torch import nn

from raysplit.config import ModelConfig
from raysplit.errors import CutError
from raysplit.models import VGG, build
from raysplit.split import Cut, ModelCuts, find_cut, find_cuts
from tests.split.networks import FAMILIES, NETWORKS, SHAPE


@cache
def cuts_of(network: str) -> ModelCuts:
    return find_cuts(NETWORKS[network](), SHAPE)


def test_cuts_of_vgg_are_in_order_with_their_shapes():
    cuts = find_cuts(VGG("vgg11", 10), (3, 32, 32))
    names = [cut.name for cut in cuts]
    assert names[:3] == ["features.0", "features.1", "features.2"]
    assert names[-5:] == ["flatten", "classifier.0", "classifier.1", "classifier.2", "classifier.3"]
    assert find_cut(cuts, "features.7") == Cut("features.7", (128, 8, 8), torch.float32, 1)
    assert find_cut(cuts, "flatten").shape == (512,)
    assert "classifier" not in names and "x" not in names


@pytest.mark.parametrize("name", FAMILIES)
def test_names_are_unique_and_the_output_is_no_cut(name):
    cuts = cuts_of(name)
    names = [cut.name for cut in cuts]
    assert len(names) == len(set(names)) >= 8
    assert not {"head", "fc"} & set(names)


@pytest.mark.parametrize(
    ("network", "cut", "shape", "channel_dim"),
    [
        ("resnet18", "layer1.0", (64, 16, 16), 1),
        ("swin", "features.1.0", (16, 16, 24), 3),
        ("vit_timm", "blocks.0", (17, 48), 2),
        ("vit_timm", "blocks.0.add", (17, 48), 2),
        ("mobilenet_v3_small", "flatten", (576,), 1),
    ],
)
def test_shape_and_channel_dimension(network, cut, shape, channel_dim):
    found = find_cut(cuts_of(network), cut)
    assert (found.shape, found.channel_dim) == (shape, channel_dim)


def test_an_inner_module_with_the_same_output_names_the_same_cut():
    cuts = cuts_of("resnet18")
    assert find_cut(cuts, "layer1.1").name == "layer1"
    assert find_cut(cuts, "layer1.1") is find_cut(cuts, "layer1")


@pytest.mark.parametrize(
    ("network", "name", "text"),
    [
        (
            "resnet18",
            "layer1.1.conv1",
            "cut 'layer1.1.conv1' is not a cut of ResNet: 2 tensors cross there. Nearest cuts: layer1.0, layer1",
        ),
        ("resnet18", "fc", "cut 'fc' is not a cut of ResNet: it is the output. Nearest cuts: flatten"),
        ("vgg11", "features.77", "cut 'features.77' is not a cut of vgg11. Nearest: features.7, "),
    ],
)
def test_a_name_that_is_no_cut_says_why_and_what_is_near(network, name, text):
    with pytest.raises(CutError) as err:
        find_cut(cuts_of(network), name)
    assert str(err.value).startswith(text)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.body, self.end = (nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x):
        return self.end(self.body(self.body(self.start(x))))


def test_no_cut_has_one_parameter_on_both_sides():
    cuts = find_cuts(Shared(), (3, 8, 8))
    assert [cut.name for cut in cuts] == ["start", "body#2"]
    with pytest.raises(CutError, match="'body' is not a cut of Shared: parameters, buffers or a module"):
        find_cut(cuts, "body")


def test_both_sides_have_parameters():
    model = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Flatten())
    cuts = find_cuts(model, (3, 8, 8))
    assert [cut.name for cut in cuts] == ["1", "2"]
    with pytest.raises(CutError, match="cut '0' is not a cut of Sequential: no parameter comes before it"):
        find_cut(cuts, "0")
    with pytest.raises(CutError, match="cut '3' is not a cut of Sequential: no parameter comes after it"):
        find_cut(cuts, "3")


def test_identities_are_no_cuts_and_hand_on_their_names():
    model = nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.Identity(), nn.Sequential(nn.ReLU(), nn.Identity()), nn.Conv2d(3, 3, 1)
    )
    assert [cut.name for cut in find_cuts(model, (3, 8, 8))] == ["0", "2"]


class Folded(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.conv(x)
        x = x.view(x.shape[0] * 2, 2, 8, 8)
        x = x.view(x.shape[0] // 2, 4, 8, 8)
        return self.other(x).argmax(1).view(-1, 64)


def test_the_batch_must_come_first_and_a_gradient_must_exist():
    cuts = find_cuts(Folded(), (3, 8, 8))
    assert [cut.name for cut in cuts] == ["conv", "view#2"]
    with pytest.raises(CutError, match="'view' is not a cut of Folded: the first dimension"):
        find_cut(cuts, "view")
    with pytest.raises(CutError, match=r"'argmax' is not a cut of Folded: what crosses is torch.int64"):
        find_cut(cuts, "argmax")


def test_a_model_without_a_cut():
    with pytest.raises(CutError, match=r"^Conv2d has no cut: nowhere does exactly one tensor per image cross$"):
        find_cuts(nn.Sequential(nn.Conv2d(3, 3, 1))[0], (3, 8, 8))


@pytest.mark.parametrize(
    "shape",
    [(3, 64, 32), pytest.param((3, 32, 64), marks=pytest.mark.slow), pytest.param((3, 32, 32), marks=pytest.mark.slow)],
)
def test_channels_of_images_that_are_not_square(shape):
    vgg = find_cuts(build(ModelConfig(name="vgg11", args={"width": 0.5}), 10, shape), shape)
    assert {cut.channel_dim for cut in vgg if len(cut.shape) == 3} == {1}
    swin = find_cuts(build(ModelConfig(name="swin_t"), 10, shape), shape)
    # The last grid of a 32-pixel side is a single row or column, and the pooled output has channels first again.
    assert {cut.channel_dim for cut in swin if cut.name.startswith("features.1")} == {3}
