"""ResNet-9: David Page's network for CIFAR-10 ("How to train your ResNet", 2018; DAWNBench), at any width."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

WIDTHS = (24, 48, 96, 192)
"""0.9 million parameters and 54 million multiply-accumulate operations for 32 × 32 pixels."""


class ResNet9(nn.Module):
    """A stem and three layers that halve the grid; the first and the last layer also have a residual block.

    Takes (B, C, H, W) floats and returns (B, classes) logits. `widths` are the output channels of the stem and of the
    three layers. Max-pooling stands before batch norm, as in part 8 of the source, and rounds up; the last map's
    maximum over positions goes into the classifier, whose logits are multiplied by `scale`. The cheapest cut behind
    the first pooling is `layer1.conv`.

    >>> import torch
    >>> ResNet9(classes=10, in_channels=1, widths=(4, 8, 8, 16))(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self, classes: int, in_channels: int = 3, widths: Sequence[int] = WIDTHS, scale: float = 0.125):
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"widths has {len(widths)} numbers, resnet9 has a stem and three layers")
        stem, first, second, third = widths
        self.scale = scale
        self.stem = conv_block(in_channels, stem)
        self.layer1 = _layer(stem, first, residual=True)
        self.layer2 = _layer(first, second)
        self.layer3 = _layer(second, third, residual=True)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(third, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.layer3(self.layer2(self.layer1(self.stem(x))))
        logits: Tensor = self.classifier(self.flatten(self.pool(maps)))
        return logits * self.scale


class Residual(nn.Module):
    """Two convolutions whose output is added to their input.

    >>> import torch
    >>> Residual(4)(torch.zeros(2, 4, 8, 8)).shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(self, width: int):
        super().__init__()
        self.inner = nn.Sequential(conv_block(width, width), conv_block(width, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.inner(x)
        return out


def conv_block(inputs: int, outputs: int, pool: bool = False) -> nn.Sequential:
    """Return a 3 × 3 convolution, max-pooling by two if `pool`, batch norm and ReLU.

    >>> [type(layer).__name__ for layer in conv_block(3, 8, pool=True)]
    ['Conv2d', 'MaxPool2d', 'BatchNorm2d', 'ReLU']
    """
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    pooling = [nn.MaxPool2d(2, ceil_mode=True)] if pool else []
    return nn.Sequential(conv, *pooling, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _layer(inputs: int, outputs: int, residual: bool = False) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(conv=conv_block(inputs, outputs, pool=True))
    if residual:
        parts["residual"] = Residual(outputs)
    return nn.Sequential(parts)
