import pytest
import torch
from torch import nn

from raysplit.config import ModelConfig
from raysplit.errors import ModelError
from raysplit.models import ResNet9, build
from raysplit.split.profile import profile


@pytest.mark.parametrize(("size", "sides"), [(28, [28, 14, 7, 4]), (32, [32, 16, 8, 4]), (45, [45, 23, 12, 6])])
def test_the_grid_halves_upwards(size, sides):
    model = ResNet9(7, in_channels=1, widths=(4, 8, 8, 8)).eval()
    x, found = torch.zeros(2, 1, size, size), []
    for layer in (model.stem, model.layer1, model.layer2, model.layer3):
        x = layer(x)
        found.append(x.shape[2])
    assert found == sides and model(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_the_default_widths():
    model = ResNet9(10)
    assert [layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)] == [
        24, 48, 48, 48, 96, 192, 192, 192,
    ]  # fmt: skip
    assert sum(p.numel() for p in model.parameters()) == 927_000
    first = profile(model, (3, 32, 32))[0]
    assert first.device_gflops + first.server_gflops == pytest.approx(2 * 53.7e-3, rel=0.01)


def test_logits_are_scaled_and_pooling_stands_before_batch_norm():
    torch.manual_seed(0)
    model, x = ResNet9(5, widths=(4, 8, 8, 8)).eval(), torch.randn(3, 3, 32, 32)
    maps = model.layer3(model.layer2(model.layer1(model.stem(x))))
    expected = maps.amax((2, 3)) @ model.classifier.weight.T / 8
    torch.testing.assert_close(model(x), expected)
    assert [type(layer).__name__ for layer in model.layer2.conv] == ["Conv2d", "MaxPool2d", "BatchNorm2d", "ReLU"]


def test_it_can_be_cut_before_its_first_residual_block():
    model = build(ModelConfig(name="resnet9", args={"widths": [4, 8, 8, 8]}), 4, (1, 28, 28))
    shapes = {cut.name: cut.shape for cut in profile(model, (1, 28, 28))}
    assert shapes["layer1.conv"] == shapes["layer1"] == (8, 14, 14)
    assert (shapes["stem"], shapes["layer2"], shapes["layer3.conv"]) == ((4, 28, 28), (8, 7, 7), (8, 4, 4))


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"widths": [8, 8]}, "ValueError: widths has 2 numbers, resnet9 has a stem and three layers"),
        ({"width": 8}, "takes no argument 'width'. Nearest: widths"),
    ],
)
def test_wrong_arguments(args, text):
    with pytest.raises(ModelError) as err:
        build(ModelConfig(name="resnet9", args=args), 10, (3, 32, 32))
    assert text in str(err.value)
