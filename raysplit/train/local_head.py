"""The device's own loss: a small head on the code, which the server may adopt."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raysplit.compress.quantizing_codec import QuantizingCodec
from raysplit.config import Level, LocalLoss
from raysplit.wire.message import Kind, Message


class LocalHead(nn.Module):
    """Convolutions with batch norm and ReLU that halve the grid, then the mean over positions and a classifier.

    Greedy layer-wise training with a head of two or three layers comes close to training end to end
    (Belilovsky, Eickenberg, Oyallon, "Greedy Layerwise Learning Can Scale to ImageNet", ICML 2019).

    Args:
        shape: of the code, without the batch dimension; tokens (`channel_dim` other than 1, or no grid) get
            linear layers, one token at a time.
    """

    def __init__(self, config: LocalLoss, shape: tuple[int, ...], channel_dim: int, classes: int):
        super().__init__()
        self._channel_dim = channel_dim
        grid = channel_dim == 1 and len(shape) == 3
        width, side = shape[channel_dim - 1], min(shape[1:]) if grid else 0
        layers: list[nn.Module] = []
        for i in range(config.layers):
            wide = config.width * (2 if i == config.layers - 1 else 1)
            if grid:
                layers += [nn.Conv2d(width, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide)]
            else:
                layers.append(nn.Linear(width, wide))
            layers.append(nn.ReLU())
            if side >= 4:
                layers.append(nn.MaxPool2d(2))
                side //= 2
            width = wide
        self.layers = nn.Sequential(*layers)
        self.classify = nn.Linear(width, classes)

    def forward(self, z: Tensor) -> Tensor:
        """Return logits, shape (N, classes), from the code as it would reach the server."""
        if self._channel_dim != 1:
            z = z.movedim(self._channel_dim, -1)
        x = self.layers(z)
        channel_dim = 1 if self._channel_dim == 1 else x.ndim - 1
        logits: Tensor = self.classify(x.movedim(channel_dim, 1).flatten(2).mean(2) if x.ndim > 2 else x)
        return logits


def flatten(module: nn.Module) -> Tensor:
    """Return all floating parameters and buffers of a module in one vector, shape (n,)."""
    return torch.cat([value.detach().reshape(-1) for value in _floating(module)])


def pack_head(module: nn.Module) -> Message:
    """Return the message with which a head is handed over to the server, in fp16."""
    return QuantizingCodec(Level(up_bits=16), "up").compress(flatten(module)).of(Kind.WEIGHTS)


def unflatten(vector: Tensor, module: nn.Module) -> None:
    """Set the parameters and buffers of a module from what `flatten` returned for one like it."""
    with torch.no_grad():
        for value, part in zip(_floating(module), vector.split([v.numel() for v in _floating(module)]), strict=True):
            value.copy_(part.view_as(value))


def _floating(module: nn.Module) -> list[Tensor]:
    return [value for value in module.state_dict().values() if value.is_floating_point()]
