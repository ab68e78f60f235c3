"""What a sub-model is shown while it learns again."""

from __future__ import annotations

import pytest
import torch

from raysplit.config import GroupsConfig, ModelConfig
from raysplit.ensemble.plan import SubmodelSpec
from raysplit.ensemble.submodel import shown
from raysplit.ensemble.trainer import Samples

LABELS = torch.arange(400) % 4


@pytest.fixture
def seat():
    return SubmodelSpec(
        classes=(1,), rest=True, of=4, k=1, model=ModelConfig(name="vit"), params=1, flops=1, file_bytes=1, device=None
    )


def rows(seat, redraw, epoch, seed=0):
    """Return the images that are shown, by number, and their targets."""
    numbers = torch.arange(400)
    groups = GroupsConfig(n=4, negatives=20, redraw=redraw)
    found = shown(Samples(numbers, LABELS, (0.5,), (0.5,), teacher=numbers * 10), seat, groups, seed, epoch)
    assert torch.equal(found.teacher, found.images * 10), "each image has its own answer of the base"
    return found.images, found.targets


def test_every_epoch_has_all_own_images_and_another_draw_of_the_rest(seat):
    epochs = [rows(seat, True, epoch) for epoch in range(3)]
    for numbers, targets in epochs:
        assert set(numbers[targets == 1].tolist()) == set(range(1, 400, 4))
        assert (LABELS[numbers[targets == 0]] != 1).all() and len(numbers) == 100 + 3 * 20
    rest = [set(numbers[targets == 0].tolist()) for numbers, targets in epochs]
    assert rest[0] != rest[1] != rest[2] != rest[0]


def test_the_same_rest_throughout_when_it_is_not_redrawn(seat):
    first, later, other = (rows(seat, False, epoch, seed)[0] for epoch, seed in ((0, 0), (5, 0), (0, 1)))
    assert torch.equal(first, later) and set(first.tolist()) != set(other.tolist())
