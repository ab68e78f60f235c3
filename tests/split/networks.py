"""Small networks of many families, and a comparison of a network with its halves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
import torchvision.models as zoo
from timm.models.mlp_mixer import Affine, MlpMixer, ResBlock
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig

from raysplit.models import VGG
from raysplit.split import SplitModel
from raysplit.torch_utils.layout import arrange_like

SIZE = 64
SHAPE = (3, SIZE, SIZE)
SMALL_VIT = {"img_size": SIZE, "patch_size": 16, "embed_dim": 48, "depth": 2, "num_heads": 3}


def _timm(name: str, **args: object) -> Callable[[], nn.Module]:
    return partial(timm.create_model, name, num_classes=5, **args)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vgg11": partial(VGG, "vgg11", 5, width=0.125),
    "resnet18": partial(zoo.resnet18, num_classes=5),
    "mobilenet_v3_small": partial(zoo.mobilenet_v3_small, num_classes=5),
    "densenet": partial(zoo.DenseNet, 8, (2, 2, 2), 16, drop_rate=0.1, num_classes=5),
    "shufflenet_v2_x0_5": partial(zoo.shufflenet_v2_x0_5, num_classes=5),
    "convnext": partial(
        zoo.ConvNeXt, [CNBlockConfig(16, 32, 2), CNBlockConfig(32, None, 2)], 0.3, num_classes=5
    ),
    "swin": partial(
        zoo.SwinTransformer, [4, 4], 24, [2, 2], [2, 4], [4, 4], dropout=0.1, num_classes=5,
        attention_dropout=0.1, stochastic_depth_prob=0.3,
    ),
    "vit_torchvision": partial(zoo.VisionTransformer, SIZE, 16, 2, 3, 48, 96, dropout=0.1, num_classes=5),
    "efficientnet_b0": partial(zoo.efficientnet_b0, num_classes=5),
    "squeezenet1_1": partial(zoo.squeezenet1_1, num_classes=5),
    "regnet_x_400mf": partial(zoo.regnet_x_400mf, num_classes=5),
    "googlenet": partial(zoo.googlenet, num_classes=5, aux_logits=False, init_weights=False),
    "vit_timm": _timm("vit_tiny_patch16_224", **SMALL_VIT, proj_drop_rate=0.1, attn_drop_rate=0.1),
    "deit": _timm("deit_tiny_distilled_patch16_224", **SMALL_VIT, drop_path_rate=0.3),
    "mobilevit": _timm("mobilevit_xxs"),
    "ghostnet": _timm("ghostnet_050", drop_rate=0.2),
    "mixer": partial(MlpMixer, 5, SIZE, embed_dim=48, num_blocks=2, proj_drop_rate=0.1),
    "resmlp": partial(
        MlpMixer, 5, SIZE, mlp_ratio=4, embed_dim=48, num_blocks=2, drop_path_rate=0.3,
        block_layer=ResBlock, norm_layer=Affine,
    ),
    "resnet_timm": _timm("resnet10t", drop_path_rate=0.3),
}  # fmt: skip
_SHORT = ("vgg11", "resnet18", "swin", "shufflenet_v2_x0_5", "deit", "mixer")
FAMILIES = [name if name in _SHORT else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
"""Every name; outside of the slow lane, those of a few families that differ most."""


def gradients(*modules: nn.Module) -> dict[str, Tensor | None]:
    """Return the gradients of all parameters by name and forget them."""
    found = {name: p.grad for module in modules for name, p in module.named_parameters()}
    for module in modules:
        module.zero_grad()
    return found


def assert_composes(model: nn.Module, halves: SplitModel, x: Tensor) -> None:
    """The halves, joined as by messages, give the model's answer and gradients bit for bit, in both modes."""
    for training in (True, False):
        for module in (model, halves.device, halves.server):
            module.train(training)
        torch.manual_seed(1)
        whole = model(x)
        whole.square().sum().backward()
        expected = gradients(model)

        torch.manual_seed(1)
        sent = halves.device(x)
        received = sent.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        answer = halves.server(received)
        answer.square().sum().backward()
        sent.backward(arrange_like(received.grad.contiguous(), sent))

        where = f"{halves.cut.name}, train mode {training}"
        assert sent.shape == (len(x), *halves.cut.shape) and sent.dtype == halves.cut.dtype, where
        assert torch.equal(received, sent), f"{where}: the server wrote into what it received"
        assert torch.equal(answer, whole), where
        found = gradients(halves.device, halves.server)
        assert found.keys() == expected.keys(), where
        for name, grad in expected.items():
            same = found[name] is None if grad is None else torch.equal(found[name], grad)
            assert same, f"{where}: gradient of {name}"
