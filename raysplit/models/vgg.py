"""VGG with batch norm (Simonyan & Zisserman 2015, table 1; vgg5 and vgg9: EC-SNN, IJCAI 2024), 28 to 224 pixels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

# Convolutions of each stage; a stage ends with a pool.
_STAGES = {
    "vgg5": (1, 2),
    "vgg9": (2, 2, 3),
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
_CHANNELS = (64, 128, 256, 512, 512)
NAMES = tuple(_STAGES)


class VGG(nn.Module):
    """Convolutions laid out as one `features` Sequential (conv, bn, relu, …, pool) and a small classifier.

    Takes (B, C, H, W) floats and returns (B, classes) logits. `width` scales every channel count,
    rounded to a multiple of 8; `channels` sets the output channels of every convolution instead, in order;
    `hidden` is the width of the classifier's hidden layer (None: the last channels). The pools round up, so
    that 28 pixels survive all five of them. `forward_head(forward_features(x), pre_logits=True)` returns the
    (B, last channels) globally averaged last map, as timm's models do.

    >>> import torch
    >>> VGG("vgg5", classes=10, in_channels=1, width=0.25)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    activation = nn.ReLU

    def __init__(
        self,
        name: str,
        classes: int,
        in_channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.5,
        channels: Sequence[int] | None = None,
        hidden: int | None = None,
    ):
        super().__init__()
        self.name = name
        layers: list[nn.Module] = []
        inputs = in_channels
        for stage in stages(name, width, channels):
            for out in stage:
                layers += [
                    nn.Conv2d(inputs, out, 3, padding=1, bias=False),
                    nn.BatchNorm2d(out),
                    nn.ReLU(inplace=True),
                ]
                inputs = out
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        hidden = inputs if hidden is None else hidden
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(inputs, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        maps: Tensor = self.features(x)
        return maps

    def forward_head(self, z: Tensor, pre_logits: bool = False) -> Tensor:
        features: Tensor = self.flatten(self.pool(z))
        if pre_logits:
            return features
        logits: Tensor = self.classifier(features)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def stages(name: str, width: float = 1.0, channels: Sequence[int] | None = None) -> list[list[int]]:
    """Return the output channels of the convolutions of each stage; ValueError for a wrong number of `channels`.

    >>> stages("vgg5", width=0.5)
    [[32], [64, 64]]
    """
    counts = _STAGES[name]
    if channels is None:
        # vgg5 and vgg9 have fewer stages.
        return [[max(8, round(full * width / 8) * 8)] * n for n, full in zip(counts, _CHANNELS, strict=False)]
    if len(channels) != sum(counts):
        raise ValueError(f"channels has {len(channels)} numbers, {name} has {sum(counts)} convolutions")
    given = iter(channels)
    return [[next(given) for _ in range(count)] for count in counts]
