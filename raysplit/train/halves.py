"""The two halves of a run, built alike on either side from the config alone."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import nn

from raysplit.compress.bottleneck import Decoder, Encoder, code_shape
from raysplit.config import FreezeAndCache, SplitConfig
from raysplit.errors import ConfigError
from raysplit.models import build
from raysplit.split import Cut, halve
from raysplit.torch_utils.seeds import mix, seeded
from raysplit.train.local_head import LocalHead


class DeviceHalf(nn.Module):
    """The layers before the cut and, where the recipe has a bottleneck, its encoder."""

    def __init__(self, body: nn.Module, encoder: Encoder | None):
        super().__init__()
        self.body = body
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.body(images)
        return x if self.encoder is None else self.encoder(x)


class ServerHalf(nn.Module):
    """The bottleneck's decoder, where there is one, and the layers after the cut.

    A head that was taken over from the device rests while the rest learns; answers are the mean of both
    distributions, as logarithms.
    """

    def __init__(self, decoder: Decoder | None, body: nn.Module, head: LocalHead | None):
        super().__init__()
        self.decoder = decoder
        self.body = body
        self.head = None if head is None else head.requires_grad_(False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        logits = self.body(z if self.decoder is None else self.decoder(z))
        if self.head is None or self.training:
            return logits
        both = torch.stack([logits, self.head(z)]).float().log_softmax(-1)
        return both.logsumexp(0) - math.log(2)


@dataclass(frozen=True)
class Parts:
    cut: Cut
    code_shape: tuple[int, ...]
    """Shape of what crosses, without the batch dimension."""
    device: DeviceHalf
    server: ServerHalf
    head: LocalHead | None
    """The device's own loss, where the recipe has one."""


def build_parts(config: SplitConfig, classes: int, shape: tuple[int, int, int]) -> Parts:
    """Build both halves for images of `shape` (C, H, W), with the run's seed: the same weights wherever it runs.

    Raises ModelError, CutError, or ConfigError for a level that keeps more channels, or more values
    of a sample, than cross.
    """
    with seeded(mix(config.train.seed, "init"), torch.device("cpu")):
        model = build(config.model, classes, shape)
        halves = halve(model, shape, config.cut)
        cut, box = halves.cut, config.bottleneck
        encoder = None if box is None else Encoder(box, cut.shape, cut.channel_dim)
        decoder = None if box is None else Decoder(box, cut.shape, cut.channel_dim)
    channels, crossing = cut.shape[cut.channel_dim - 1], code_shape(box, cut.shape, cut.channel_dim)
    for level in config.levels():
        if level.channels is not None and level.channels > channels:
            raise ConfigError(
                f"recipe {config.name}: level {level} keeps {level.channels} channels, "
                f"{channels} cross at cut '{cut.name}'"
            )
        values = math.prod(crossing) // channels * (level.channels or channels)
        if level.top is not None and level.top > values:
            raise ConfigError(
                f"recipe {config.name}: level {level} keeps {level.top} values of each sample, "
                f"{values} cross at cut '{cut.name}'"
            )
    head, local = None, config.train.local_loss
    if local is not None:
        with seeded(mix(config.train.seed, "head"), torch.device("cpu")):
            head = LocalHead(local, crossing, cut.channel_dim, classes)
    taken = head if isinstance(config.schedule, FreezeAndCache) and config.schedule.hands_over else None
    server = ServerHalf(decoder, halves.server, copy.deepcopy(taken))
    return Parts(cut, crossing, DeviceHalf(halves.device, encoder), server, head)
