import pytest
import torch
from torch import nn

from raysplit.models import VGG


@pytest.mark.parametrize("size", [28, 32, 45, 224])
def test_image_sizes_from_28_to_224(size):
    model = VGG("vgg11", 7, in_channels=1, width=0.125).eval()
    assert model(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_28_pixels_halve_upwards():
    model = VGG("vgg11", 7, width=0.125).eval()
    x, sizes = torch.zeros(1, 3, 28, 28), []
    for layer in model.features:
        x = layer(x)
        if isinstance(layer, nn.MaxPool2d):
            sizes.append(x.shape[2])
    assert sizes == [14, 7, 4, 2, 1]


@pytest.mark.parametrize(("name", "convs"), [("vgg11", 8), ("vgg13", 10), ("vgg16", 13), ("vgg19", 16)])
def test_depths(name, convs):
    model = VGG(name, 7, width=0.125)
    assert sum(isinstance(layer, nn.Conv2d) for layer in model.features) == convs
    assert len(model.features) == 3 * convs + 5


def test_width_is_rounded_to_a_multiple_of_8_and_dropout_is_set():
    model = VGG("vgg11", 7, width=0.3, dropout=0.2)
    assert [layer.out_channels for layer in model.features if isinstance(layer, nn.Conv2d)][::2] == [
        16, 80, 152, 152,
    ]  # fmt: skip
    assert model.classifier[1].in_features == model.classifier[1].out_features == 152
    assert model.classifier[0].p == model.classifier[3].p == 0.2


def test_full_width_after_the_second_block():
    model = VGG("vgg11", 10).eval()
    assert model.features[:8](torch.zeros(1, 3, 32, 32)).shape == (1, 128, 8, 8)
