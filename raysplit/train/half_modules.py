"""The two halves of a network as modules."""

from __future__ import annotations

import math

import torch
from torch import nn

from raysplit.compress.bottleneck import Decoder, Encoder
from raysplit.torch_utils.freezing import PartlyFrozen
from raysplit.train.local_head import LocalHead


class DeviceHalf(PartlyFrozen):
    """The layers before the cut and, where the recipe has a bottleneck, its encoder."""

    def __init__(self, body: nn.Module, encoder: Encoder | None):
        super().__init__()
        self.body = body
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.body(images)
        return x if self.encoder is None else self.encoder(x)


class Tail(PartlyFrozen):
    """The layers after the second cut, on the device again."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(features)
        return logits


class ServerHalf(PartlyFrozen):
    """The bottleneck's decoder, if there is one, and the layers after the cut, or between it and the second one.

    A head that was taken over from the device is not trained here; in eval mode the output is the log of the mean of
    both distributions.
    """

    def __init__(self, decoder: Decoder | None, body: nn.Module, head: LocalHead | None):
        super().__init__()
        self.decoder = decoder
        self.body = body
        self.head = None if head is None else head.requires_grad_(False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(z if self.decoder is None else self.decoder(z))
        if self.head is None or self.training:
            return logits
        both = torch.stack([logits, self.head(z)]).float().log_softmax(-1)
        return both.logsumexp(0) - math.log(2)
