"""VGG with batch norm (Simonyan & Zisserman 2015, table 1) for images of 28 to 224 pixels."""

from __future__ import annotations

from torch import Tensor, nn

# Convolutions of each of the five stages; a stage ends with a pool.
_STAGES = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
NAMES = tuple(_STAGES)


class VGG(nn.Module):
    """Convolutions laid out as one `features` Sequential (conv, bn, relu, …, pool) and a small classifier.

    Takes (B, C, H, W) floats and returns (B, classes) logits. `width` scales every channel count,
    rounded to a multiple of 8. The pools round up, so that 28 pixels survive all five of them.
    """

    def __init__(self, name: str, classes: int, in_channels: int = 3, width: float = 1.0, dropout: float = 0.5):
        super().__init__()
        self.name = name
        layers: list[nn.Module] = []
        channels = in_channels
        for count, full in zip(_STAGES[name], (64, 128, 256, 512, 512), strict=True):
            out = max(8, round(full * width / 8) * 8)
            for _ in range(count):
                layers += [
                    nn.Conv2d(channels, out, 3, padding=1, bias=False),
                    nn.BatchNorm2d(out),
                    nn.ReLU(inplace=True),
                ]
                channels = out
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(channels, classes),
        )
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.pool(self.features(x))))
