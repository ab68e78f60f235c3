"""Measures what a finished run gives away: its images, rebuilt from the activations that cross at each level."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from raysplit.config import SplitConfig
from raysplit.data import ImageSet, load, load_shard
from raysplit.errors import ConfigError, DataError
from raysplit.family.bundle import Family, load_family
from raysplit.family.network import SplitNetwork
from raysplit.privacy.attack import Attack
from raysplit.privacy.report import LeakReport, LevelLeak, Similarity
from raysplit.privacy.similarity import psnr, ssim
from raysplit.torch_utils.seeds import generator

_MOST_EVALUATED = 512
"""Images that reconstructions are scored on."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Leak:
    """The scores, and images to look at."""

    report: LeakReport
    originals: torch.Tensor
    """Images that the attacker has not seen, uint8 (N, C, H, W)."""
    rebuilt: tuple[torch.Tensor, ...]
    """The same images rebuilt at each level of the report, of the shape of `originals`."""


def measure_leak(
    location: str,
    levels: Sequence[str] = (),
    *,
    images: int = 2000,
    epochs: int = 20,
    shown: int = 8,
    config: SplitConfig | None = None,
) -> Leak:
    """Rebuild images from what crosses at some levels of a finished run, and score how alike they are.

    The attacker is the server, or whoever reads the link: it sees the messages of images that it does not know, and can
    pass images of its own through the device half, as everyone can who owns a device. It trains an inverse network on
    pairs of its own images and their messages (He, Zhang, Lee, ACSAC 2019). Its images are the run's training images,
    so that it knows the kind of image as well as anyone could; those that it rebuilds are of the test split, which
    neither it nor the network has seen.

    Args:
        location: folder of the run or of its family, a path or URI.
        levels: as they print; empty: every level of its family.
        images: training images that the attacker has, at most.
        epochs: passes over them.
        shown: rebuilt images that are returned, of as many classes as there are.
        config: of the run, for a network, data set or codec that existed in memory only.

    Raises BundleError for a run that has not ended, an unknown level and damaged files, DataError for a data set that
    is not there or no longer the run's, and ConfigError for numbers below 1.

    >>> leak = measure_leak("family", ["c2.b4/b4.zstd"], images=64, epochs=1, shown=4)
    >>> leak.rebuilt[0].shape, leak.report.levels[0].level
    (torch.Size([4, 1, 8, 8]), 'c2·b4/b4·zstd')
    """
    for name, value in (("images", images), ("epochs", epochs), ("shown", shown)):
        if value < 1:
            raise ConfigError(f"{name}={value}: give at least 1")
    family = load_family(location, config)
    wanted = [str(family.level(level)) for level in levels] or [level.level for level in family.levels]
    seed = family.config.train.seed
    known, unseen = _load(family, "train"), _load(family, "test")
    own = known.images[_draw(len(known.images), images, seed, "known")]
    drawn = _draw(len(unseen.images), _MOST_EVALUATED, seed, "unseen")
    victims, labels = unseen.images[drawn], unseen.labels[drawn]
    pick = _one_of_each(labels, shown)
    targets = victims.float() / 255
    blind = (own.float().mean(0, keepdim=True) / 255).expand_as(targets)
    found, rebuilt = [], []
    for level in dict.fromkeys(wanted):
        start = time.perf_counter()
        network = SplitNetwork(family, level)
        attack = Attack(network, seed)
        attack.fit(own, epochs)
        guess = attack.rebuild(victims)
        found.append(
            LevelLeak(
                level=level,
                accuracy=network.accuracy,
                bytes_per_image=attack.bytes_per_image,
                similarity=_compare(targets, guess),
                seconds=time.perf_counter() - start,
            )
        )
        rebuilt.append((guess[pick] * 255).round().to(torch.uint8))
        _log.info(f"{level}: rebuilt with {found[-1].similarity}, {found[-1].seconds:.0f} s")
    report = LeakReport(
        run=location,
        recipe=family.config.name,
        sound=family.config.data.audio is not None,
        known_images=len(own),
        rebuilt_images=len(victims),
        epochs=epochs,
        blind=_compare(targets, blind),
        levels=tuple(found),
    )
    return Leak(report, victims[pick], tuple(rebuilt))


def _compare(targets: torch.Tensor, guess: torch.Tensor) -> Similarity:
    return Similarity(psnr=psnr(targets, guess).mean().item(), ssim=ssim(targets, guess).mean().item())


def _load(family: Family, split: Literal["train", "test"]) -> ImageSet:
    """Return a split of all devices of the run together."""
    config, shape = family.config, family.manifest.shape
    if config.devices.data:
        sets = [
            load_shard(config.data, config.devices, index, config.train.batch_size, split)
            for index in range(config.devices.count)
        ]
    else:
        sets = [load(config.data, split)]
    for one in sets:
        if tuple(one.images.shape[1:]) != tuple(shape):
            raise DataError(
                f"the images of {config.data.name} are {_by(one.images.shape[1:])}, the run's were {_by(shape)}; put "
                "back the data set that the run was trained on"
            )
    images, labels = torch.cat([one.images for one in sets]), torch.cat([one.labels for one in sets])
    return ImageSet(images, labels, sets[0].classes, skipped=0)


def _by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _draw(count: int, most: int, seed: int, name: str) -> torch.Tensor:
    return torch.randperm(count, generator=generator("leak", seed, name))[:most]


def _one_of_each(labels: torch.Tensor, count: int) -> torch.Tensor:
    """Return the rows of `count` images, at most: one of each class, then a second one, and so on."""
    seen: dict[int, int] = {}
    turns = []
    for row, label in enumerate(labels.tolist()):
        turns.append((seen.setdefault(label, 0), label, row))
        seen[label] += 1
    return torch.tensor([row for _, _, row in sorted(turns)[:count]])
