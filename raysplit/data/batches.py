"""From a split to batches: order, augmentation, normalization. Randomness comes from seeds alone."""

from __future__ import annotations

import logging

import torch

from raysplit.errors import DataError
from raysplit.torch_utils.seeds import generator

_CHUNK_BYTES = 1 << 26
_log = logging.getLogger(__name__)


def mean_std(images: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of uint8 images (N, C, H, W), in units of 0..1.

    Exact: computed from counts of the 256 values. A constant channel gets a deviation of 1/255, so that
    dividing by it is safe, and a warning. Raises DataError if there is no image.

    >>> mean_std(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
    ((0.5,), (0.5,))
    """
    if not images.numel():
        raise DataError("there are no images to compute mean and deviation of")
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for chunk in images.split(max(1, _CHUNK_BYTES // images[0].numel())):
        for channel, count in enumerate(counts):
            count += torch.bincount(chunk[:, channel].flatten(), minlength=256)
    share = counts.double() / counts[0].sum()
    mean = share @ values
    for channel, levels in enumerate((counts > 0).sum(1).tolist()):
        if levels == 1:
            _log.warning(
                f"channel {channel} of {images.shape[1]} is {mean[channel] * 255:.0f} in every pixel of all "
                f"{len(images)} images, so nothing can be learned from it; look at the image files"
            )
    std = (share * (values - mean[:, None]) ** 2).sum(1).sqrt().clamp_min(1 / 255)
    return tuple(mean.tolist()), tuple(std.tolist())


def batch_order(rows: int, batch_size: int, seed: int, epoch: int) -> list[torch.Tensor]:
    """Return an epoch's batches as int64 row indices (batch_size,): shuffled, the last partial batch dropped.

    A pure function of its arguments. Raises DataError if there are fewer rows than one batch holds.

    >>> [len(batch) for batch in batch_order(rows=10, batch_size=4, seed=0, epoch=0)]
    [4, 4]
    """
    if rows < batch_size:
        raise DataError(
            f"{rows} training rows do not fill one batch of {batch_size}; lower train.batch_size or use more"
        )
    order = torch.randperm(rows, generator=generator("order", seed, epoch))
    return list(order[: rows - rows % batch_size].split(batch_size))


def prepare_batch(
    images_u8: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...], augment: str, seed: int
) -> torch.Tensor:
    """Return uint8 images (N, C, H, W) as float32, (x/255 - mean) / std, on the same device, augmented.

    `augment` is "none"; "crop": each image is shifted by up to an eighth of its height and width (4 pixels at
    32), with its edge reflected; "small_crop": by up to a sixteenth; or "crop_flip" and "small_crop_flip": half of
    them are mirrored as well. Drawn from `seed` alone.

    >>> prepare_batch(torch.full((1, 1, 1, 2), 255, dtype=torch.uint8), (0.5,), (0.25,), "none", seed=0)
    tensor([[[[2., 2.]]]])
    """
    if augment != "none":
        images_u8 = _shift(images_u8, augment, generator("augment", seed))
    shape, device = (1, -1, 1, 1), images_u8.device
    x = images_u8.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    x.sub_(torch.tensor(mean, device=device).view(shape))
    return x.div_(torch.tensor(std, device=device).view(shape))


def _shift(images: torch.Tensor, augment: str, random: torch.Generator) -> torch.Tensor:
    rows, channels, height, width = images.shape
    share = 16 if augment.startswith("small_crop") else 8
    y = _reflect(rows, height, height // share, random)
    x = _reflect(rows, width, width // share, random)
    if augment.endswith("_flip"):
        mirrored = torch.randint(2, (rows, 1), generator=random).bool()
        x = torch.where(mirrored, x.flip(1), x)
    source = (y[:, :, None] * width + x[:, None, :]).view(rows, 1, -1).to(images.device)
    moved = images.reshape(rows, channels, -1).gather(2, source.expand(-1, channels, -1))
    return moved.view_as(images)


def _reflect(rows: int, length: int, reach: int, random: torch.Generator) -> torch.Tensor:
    """Return the source line of each line of each image, shifted by up to `reach`: int64 (rows, length)."""
    shift = torch.randint(-reach, reach + 1, (rows, 1), generator=random)
    source = (torch.arange(length) + shift).abs()
    return torch.where(source < length, source, 2 * (length - 1) - source)
