"""A trained network in one module: both halves at a level, with what crosses between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raysplit.compress.noise import add_noise
from raysplit.config import SplitConfig
from raysplit.data.batches import prepare_batch
from raysplit.family.bundle import Family, load_family
from raysplit.torch_utils.compute import autocast, pick_device
from raysplit.wire.message import Message


class SplitNetwork(nn.Module):
    """Both halves of a trained network at one level, and the codec and channels between them.

    From uint8 images (N, C, H, W) to float32 logits (N, classes), computed as the run did: in its precision, through
    the codec. Ranges of quantization are those of a batch: test images in batches of `config.train.batch_size` give
    the recorded accuracy to the last image, unless the level adds noise, which is drawn anew. In eval mode, on CUDA if
    available.

    >>> network = load_run("family")
    >>> network.level, network.accuracy == network.family.levels[-1].test_accuracy
    ('c2·b4/b4·zstd', True)
    >>> network(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape
    torch.Size([2, 10])
    """

    def __init__(self, family: Family, level: str):
        """Raises BundleError for a level that is not in the family."""
        super().__init__()
        self.family, self.config = family, family.config
        self.level = str(family.level(level))
        """As it prints."""
        self.accuracy = next(entry.test_accuracy for entry in family.levels if entry.level == self.level)
        """On the test images, in 0..1, as recorded."""
        self.codec = family.codec(self.level)
        self.device_half, self.server_half = family.device(self.level), family.server(self.level)
        encoder = self.device_half.encoder
        budget = family.level(self.level).channels
        self.channels = None if encoder is None else encoder.choose_channels(budget)
        """The channels that cross, ascending; None for all of them."""
        self._compute = pick_device("auto")
        if self.config.train.channels_last:
            self.to(memory_format=torch.channels_last)
        self.to(self._compute).eval()

    @torch.no_grad()
    def encode(self, images: Tensor, seed: int | None = None) -> Message:
        """Return the message that crosses for uint8 images (N, C, H, W).

        The noise of a level that has some is drawn by `seed`; None: anew.
        """
        manifest, train = self.family.manifest, self.config.train
        x = prepare_batch(images, manifest.mean, manifest.std, "none", 0).to(self._compute)
        with autocast(self._compute, train.precision):
            z = self.device_half(self._arrange(x))
        noisy = add_noise(z, self.family.level(self.level).noise, seed, self.channels, manifest.channel_dim)
        return self.codec.compress(noisy, 0, self.channels, None)

    @torch.no_grad()
    def decode(self, message: Message) -> Tensor:
        """Return float32 logits (N, classes) for a message of this level."""
        z = self._arrange(self.codec.extract(message).to(self._compute))
        with autocast(self._compute, self.config.train.precision):
            logits: Tensor = self.server_half(z)
        return logits.float()

    def forward(self, images: Tensor) -> Tensor:
        return self.decode(self.encode(images))

    def _arrange(self, x: Tensor) -> Tensor:
        last = self.config.train.channels_last and x.ndim == 4
        return x.to(memory_format=torch.channels_last) if last else x


def load_run(location: str, level: str | None = None, config: SplitConfig | None = None) -> SplitNetwork:
    """Return the trained network of a finished run, or of a family, by path or URI.

    Args:
        location: folder of the run or family.
        level: of a family of several, as it prints; default: the one that the run ended with.
        config: of the run, for a network or codec that existed in memory only.

    Raises BundleError for a run that has not ended, a level that was not kept, and damaged files.

    >>> load_run("family", "all.b4/b4.zstd").level
    'all·b4/b4·zstd'
    """
    family = load_family(location, config)
    return SplitNetwork(family, level or family.manifest.levels[-1].level)
