"""An attacker that learns to turn the messages of a level back into images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from raysplit.family.network import SplitNetwork
from raysplit.privacy.inverse_network import InverseNetwork
from raysplit.torch_utils.compute import autocast, pick_device
from raysplit.torch_utils.seeds import generator, mix, seeded
from raysplit.wire.message import Message

_LR = 3e-3


class Attack:
    """An inverse network for what crosses in a trained network at its level.

    It learns from messages of `train.batch_size` images, made as the run made them.

    >>> from raysplit import load_run
    >>> attack = Attack(load_run("family"), seed=0)
    >>> images = torch.zeros(32, 1, 8, 8, dtype=torch.uint8)
    >>> attack.fit(images, epochs=1)
    >>> attack.rebuild(images).shape
    torch.Size([32, 1, 8, 8])
    """

    def __init__(self, network: SplitNetwork, seed: int):
        self._network, self._seed = network, seed
        self._batch_size = network.config.train.batch_size
        self._device = pick_device("auto")
        manifest = network.family.manifest
        with seeded(mix(seed, "inverse network"), self._device):
            inverse = InverseNetwork(manifest.code_shape, manifest.channel_dim, manifest.shape)
        self._inverse = inverse.to(self._device).to(memory_format=torch.channels_last)
        self.bytes_per_image = 0.0
        """Of the messages that images were last rebuilt from."""

    def fit(self, images: Tensor, epochs: int) -> None:
        """Train on images that the attacker has, uint8 (N, C, H, W): least squares, a step for each message."""
        pairs = list(zip(self._send(images, "known"), images.split(self._batch_size), strict=True))
        optimizer = AdamW(self._inverse.parameters(), lr=_LR, weight_decay=0.01)
        schedule = OneCycleLR(optimizer, _LR, total_steps=epochs * len(pairs), cycle_momentum=False)
        self._inverse.train()
        for epoch in range(epochs):
            order = torch.randperm(len(pairs), generator=generator("leak", self._seed, epoch))
            for message, targets in (pairs[index] for index in order.tolist()):
                with autocast(self._device, self._network.config.train.precision):
                    guess = self._inverse(self._extract(message))
                optimizer.zero_grad()
                mse_loss(guess.float(), targets.to(self._device).float() / 255).backward()
                optimizer.step()
                schedule.step()

    @torch.no_grad()
    def rebuild(self, images: Tensor) -> Tensor:
        """Return images rebuilt from the messages of `images`, uint8 (N, C, H, W): float32 in 0..1, on the CPU."""
        self._inverse.eval()
        found, size = [], 0
        for message in self._send(images, "unseen"):
            size += message.size
            found.append(self._inverse(self._extract(message)).float().cpu())
        self.bytes_per_image = size / len(images)
        return torch.cat(found)

    def _send(self, images: Tensor, name: str) -> Iterator[Message]:
        for index, batch in enumerate(images.split(self._batch_size)):
            yield self._network.encode(batch, mix(self._seed, "leak", name, index))

    def _extract(self, message: Message) -> Tensor:
        codes = self._network.codec.extract(message).to(self._device).float()
        return codes.contiguous(memory_format=torch.channels_last) if codes.ndim == 4 else codes
