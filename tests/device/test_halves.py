"""Messages of the device halves."""

from __future__ import annotations

import pytest
import torch

from raysplit.data import prepare_batch
from raysplit.device.halves import DeviceHalves
from raysplit.errors import DataError
from raysplit.torch_utils.compute import autocast


@pytest.fixture
def images(family):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, *family.manifest.shape), dtype=torch.uint8, generator=generator)


def test_messages_are_those_of_halves_of_their_own(family, images):
    halves, train = DeviceHalves(family), family.config.train
    x = prepare_batch(images, family.manifest.mean, family.manifest.std, "none", 0)
    for level in (*halves.levels, halves.levels[0]):
        half, codec = family.device(level), family.codec(level)
        if train.channels_last:
            half, x = half.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(torch.device("cpu"), train.precision):
            z = half(x)
        channels = half.encoder.choose_channels(family.level(level).channels)
        message = halves.encode(images, level).to_bytes()
        assert message == codec.compress(z, 0, channels, None).to_bytes()
        assert len(message) <= halves.max_message_bytes(level, 3)


def test_only_uint8_images_of_the_family_are_taken(family, images):
    halves = DeviceHalves(family)
    for wrong in (images.float(), images[:0], images[:, :, 1:]):
        with pytest.raises(DataError, match=r"takes uint8 images in shape \(N, 1, 8, 8\)"):
            halves.encode(wrong, halves.levels[0])
