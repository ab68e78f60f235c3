import pytest
import timm
import torch
import torchvision.models as zoo
from torch import nn

from raysplit.config import ModelConfig
from raysplit.errors import ConfigError, ModelError
from raysplit.models import VGG, build

SHAPE = (3, 64, 64)


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("vgg11", (1, 28, 28), VGG),
        ("torchvision:squeezenet1_1", SHAPE, zoo.SqueezeNet),
        ("resnet18", SHAPE, zoo.ResNet),
        ("timm:resnet18", (1, 32, 32), timm.models.ResNet),
        ("resnet10t", (1, 32, 64), timm.models.ResNet),
        ("googlenet", SHAPE, zoo.GoogLeNet),
        ("mixer_s32_224", SHAPE, timm.models.MlpMixer),
        ("vit_tiny_patch16_224", (1, 32, 32), timm.models.VisionTransformer),
        ("vit_tiny_patch16_224", (3, 32, 64), timm.models.VisionTransformer),
    ],
)
def test_names_of_three_libraries(name, shape, kind):
    args = {"width": 0.125} if kind is VGG else {}
    model = build(ModelConfig(name=name, args=args), 7, shape)
    assert isinstance(model, kind)
    assert model.name == name
    for training in (True, False):
        assert model.train(training)(torch.zeros(2, *shape)).shape == (2, 7)


def test_a_prefix_decides_between_libraries():
    assert isinstance(build(ModelConfig(name="torchvision:vgg11"), 7, SHAPE), zoo.VGG)
    vit = build(ModelConfig(name="vit_b_16"), 7, SHAPE)
    assert isinstance(vit, zoo.VisionTransformer) and vit.image_size == 64


def test_arguments_reach_the_builder():
    model = build(ModelConfig(name="vit_tiny_patch16_224", args={"depth": 2, "embed_dim": 48}), 7, SHAPE)
    assert len(model.blocks) == 2 and model.embed_dim == 48
    assert build(ModelConfig(name="mobilenet_v3_small", args={"dropout": 0.4}), 7, SHAPE).classifier[2].p == 0.4


@pytest.mark.parametrize("name", ["vgg11", "squeezenet1_1", "resnet10t"])
def test_one_seed_gives_one_model(name):
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(build(ModelConfig(name=name), 7, SHAPE).state_dict())
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())
    assert not all(torch.equal(tensor, states[2][key]) for key, tensor in states[0].items())


@pytest.mark.parametrize(
    ("name", "shape", "args", "text"),
    [
        ("resnet81", SHAPE, {}, "there is no model 'resnet81'. Nearest: resnet18"),
        ("timm:vgg12", SHAPE, {}, "there is no model 'timm:vgg12'. Nearest: vgg1"),
        ("keras:vgg", SHAPE, {}, "model 'keras:vgg': 'keras' is not a library; write torchvision: or timm:"),
        ("vgg11", SHAPE, {"widht": 2}, "model vgg11 takes no argument 'widht'. Nearest: width."),
        ("resnet18", SHAPE, {"widht": 2}, "model resnet18 takes no argument 'widht'."),
        ("resnet10t", SHAPE, {"widht": 2}, "model resnet10t takes no argument 'widht'."),
        ("vit_tiny_patch16_224", SHAPE, {"dpth": 2}, "model vit_tiny_patch16_224 takes no argument 'dpth'."),
        ("vgg11", SHAPE, {"width": "x"}, "model vgg11 cannot be built: TypeError: unsupported operand"),
        (
            "resnet18",
            (1, 28, 28),
            {},
            "torchvision's resnet18 takes images of 3 channels, these have 1: set data.channels=3",
        ),
        (
            "vit",
            (1, 28, 28),
            {"patch": 5, "width": 24, "depth": 1, "heads": 3},
            "model vit cannot be built: ValueError: images of 28×28 pixels cannot be divided into patches of 5×5",
        ),
        ("vit_b_16", (3, 33, 33), {}, "model vit_b_16 cannot be built: AssertionError: Input shape indivisible"),
    ],
)
def test_errors_are_one_line_and_name_the_fault(name, shape, args, text):
    with pytest.raises(ModelError) as err:
        build(ModelConfig(name=name, args=args), 7, shape)
    assert str(err.value).startswith(text)
    assert "\n" not in str(err.value)


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from torch import nn\n"
        "def linear(classes, shape, bias=True):\n"
        "    c, h, w = shape\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, classes, bias=bias))\n"
        "def number(classes, shape):\n"
        "    return 3\n"
    )
    return path


def test_a_function_of_the_user(own):
    name = f"{own}:linear"
    model = build(ModelConfig(name=name, args={"bias": False}), 7, (1, 4, 4))
    assert model.name == name
    assert model(torch.zeros(2, 1, 4, 4)).shape == (2, 7) and model[1].bias is None


def test_faults_in_a_function_of_the_user(own):
    with pytest.raises(ModelError, match=r"own.py:number returned a int, expected a torch.nn.Module$"):
        build(ModelConfig(name=f"{own}:number"), 7, (1, 4, 4))
    with pytest.raises(ModelError, match=r"own.py:linear takes no argument 'bais'. Nearest: bias"):
        build(ModelConfig(name=f"{own}:linear", args={"bais": 1}), 7, (1, 4, 4))
    with pytest.raises(ConfigError, match=r"has no function 'linaer'. Nearest: linear"):
        build(ModelConfig(name=f"{own}:linaer"), 7, (1, 4, 4))


class Small(nn.Module):
    def __init__(self, classes=7, features=3 * 64 * 64):
        super().__init__()
        self.flatten, self.linear = nn.Flatten(), nn.Linear(features, classes)

    def forward(self, x):
        return self.linear(self.flatten(x))


@pytest.mark.parametrize("training", [True, False])
def test_a_module_in_memory_is_copied(training):
    net = Small().train(training)
    torch.manual_seed(5)
    model = build(ModelConfig(module=net), 7, SHAPE)
    expected = torch.Generator().manual_seed(5)
    assert torch.equal(torch.rand(1), torch.rand(1, generator=expected)), "building draws no random number"
    assert model is not net and model.training is training and model.name == "object:Small"
    assert torch.equal(model.linear.weight, net.linear.weight)
    with torch.no_grad():
        model.linear.weight.zero_()
    assert net.linear.weight.any() and not hasattr(net, "name")


class Unruly(Small):
    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")


@pytest.mark.parametrize(
    ("module", "shape", "text"),
    [
        (
            Small(5),
            SHAPE,
            r"model object:Small returns \(2, 5\) for 2 images, expected the logits of 7 classes",
        ),
        (nn.Flatten(0), SHAPE, r"model object:Flatten returns \(24576,\) for 2 images"),
        (nn.LSTM(64, 7), (1, 8, 64), r"model object:LSTM cannot take images of shape \(1, 8, 64\): "),
        (Small(), (1, 28, 28), r"model object:Small cannot take images of shape \(1, 28, 28\): RuntimeError: mat1 and"),
        (Unruly(), SHAPE, r"model object:Unruly cannot be copied: TypeError: cannot be copied"),
    ],
)
def test_modules_that_do_not_fit(module, shape, text):
    with pytest.raises(ModelError, match=text) as caught:
        build(ModelConfig(module=module), 7, shape)
    assert "\n" not in str(caught.value)


def test_the_record_of_a_module_is_not_the_module():
    record = ModelConfig.model_validate_json(ModelConfig(module=Small()).model_dump_json())
    text = r"^model was an object in memory \(Small\).* config.replaced\(model=…\), or name it as path.py:function$"
    with pytest.raises(ConfigError, match=text):
        build(record, 7, SHAPE)
