"""Networks of the traffic benchmark, for `model.name=benchmarks/traffic/networks.py:FUNCTION`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from raysplit.models.resnet9 import Residual, ResNet9, conv_block


def learned_bottleneck(
    classes: int, shape: tuple[int, int, int], widths: Sequence[int], channels: int, stride: int
) -> nn.Module:
    """Return ResNet-9 with an encoder and a decoder behind `layer1.conv`: cut at `encoder`.

    As in BottleNet++ (Shao and Zhang, ICC Workshops 2020, arXiv 1910.14315): a strided convolution to a few channels,
    batch norm and a sigmoid on the device; a transposed convolution, batch norm and ReLU on the server.
    """
    net = ResNet9(classes, shape[0], widths)
    width = widths[1]
    conv, residual = net.layer1
    shrink = nn.Conv2d(width, channels, stride + 2, stride, padding=1, bias=False)
    grow = nn.ConvTranspose2d(channels, width, stride + 2, stride, padding=1, bias=False)
    encoder = nn.Sequential(shrink, nn.BatchNorm2d(channels), nn.Sigmoid())
    decoder = nn.Sequential(grow, nn.BatchNorm2d(width), nn.ReLU())
    return nn.Sequential(
        OrderedDict(
            stem=net.stem,
            conv=conv,
            encoder=encoder,
            decoder=decoder,
            residual=residual,
            layer2=net.layer2,
            layer3=net.layer3,
            pool=net.pool,
            flatten=net.flatten,
            classifier=net.classifier,
            scale=_Scale(net.scale),
        )
    )


def device_alone(
    classes: int, shape: tuple[int, int, int], widths: Sequence[int], head: Sequence[int], separable: bool = False
) -> nn.Module:
    """Return the device half of ResNet-9, up to `layer1.conv`, and a head of its own.

    The head is the rest of a ResNet-9 of the given widths: two layers that halve the grid, and a residual block. With
    `separable` each of its convolutions is one of each channel by itself and one of 1 × 1 (MobileNet).
    """
    net = ResNet9(classes, shape[0], widths)
    layers: list[nn.Module] = []
    inputs = widths[1]
    for outputs in head:
        layers.append(_separable(inputs, outputs) if separable else conv_block(inputs, outputs, pool=True))
        inputs = outputs
    if not separable:
        layers.append(Residual(inputs))
    layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(inputs, classes, bias=False), _Scale(net.scale)]
    layer1 = nn.Sequential(OrderedDict(conv=net.layer1[0]))
    return nn.Sequential(OrderedDict(stem=net.stem, layer1=layer1, head=nn.Sequential(*layers)))


class _Scale(nn.Module):
    """Logits times a constant, as ResNet-9 has them."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
