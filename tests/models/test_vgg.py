import pytest
import torch
from torch import nn

from raysplit.config import ModelConfig
from raysplit.errors import ModelError
from raysplit.models import VGG, build


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


@pytest.mark.parametrize(
    ("name", "convs", "pools"),
    [("vgg5", 3, 2), ("vgg9", 7, 3), ("vgg11", 8, 5), ("vgg13", 10, 5), ("vgg16", 13, 5), ("vgg19", 16, 5)],
)
def test_depths(name, convs, pools):
    model = VGG(name, 7, width=0.125)
    assert sum(isinstance(layer, nn.Conv2d) for layer in model.features) == convs
    assert len(model.features) == 3 * convs + pools


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


def widths(model):
    return [layer.out_channels for layer in model.features if isinstance(layer, nn.Conv2d)]


def test_the_layouts_of_ec_snn():
    assert widths(VGG("vgg5", 10)) == [64, 128, 128]
    assert widths(VGG("vgg9", 10)) == [64, 64, 128, 128, 256, 256, 256]
    kinds = [type(layer).__name__[0] for layer in VGG("vgg9", 10, width=0.125).features]
    assert "".join(kinds) == "CBRCBRM" * 2 + "CBRCBRCBRM"


def test_channels_and_hidden_set_every_width():
    model = build(ModelConfig(name="vgg9", args={"channels": [3, 5, 7, 9, 11, 13, 15], "hidden": 6}), 4, (1, 28, 28))
    assert widths(model) == [3, 5, 7, 9, 11, 13, 15]
    assert [(layer.in_features, layer.out_features) for layer in model.classifier[1::3]] == [(15, 6), (6, 4)]
    assert model.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 4)
    with pytest.raises(ModelError) as err:
        build(ModelConfig(name="vgg9", args={"channels": [8, 8]}), 4, (1, 28, 28))
    assert str(err.value) == "model vgg9 cannot be built: ValueError: channels has 2 numbers, vgg9 has 7 convolutions"


def test_the_widths_it_would_have_anyway_change_nothing():
    states = []
    for args in ({"width": 0.25}, {"channels": [16, 32, 32], "hidden": 32}):
        torch.manual_seed(0)
        states.append(VGG("vgg5", 7, **args).state_dict())
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())


def test_three_part_call():
    torch.manual_seed(0)
    model, x = VGG("vgg11", 7, width=0.125).eval(), torch.randn(2, 3, 32, 32)
    z = model.forward_features(x)
    assert torch.equal(z, model.features(x))
    assert torch.equal(model.forward_head(z, pre_logits=True), z.mean((2, 3)))
    assert torch.equal(model.forward_head(z), model(x))


def test_names_and_numbers_stay_as_they_were():
    torch.manual_seed(0)
    model = VGG("vgg11", 10, width=0.125)
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    convs = (0, 4, 8, 11, 15, 18, 22, 25)
    assert list(model.state_dict()) == [
        *(key for i in convs for key in (f"features.{i}.weight", *(f"features.{i + 1}.{part}" for part in norm))),
        *(f"classifier.{i}.{part}" for i in (1, 4) for part in ("weight", "bias")),
    ]
    assert sum(p.numel() for p in model.parameters()) == 149_714
    x = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    torch.testing.assert_close(
        model.eval()(x)[0, :3], torch.tensor([-0.10376784, 0.08829814, 0.08366165]), rtol=1e-4, atol=1e-6
    )
