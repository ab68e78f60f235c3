"""The training images of one sub-model."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.config import GroupsConfig, ModelConfig
from raysplit.config.ensemble_plan import SubmodelSpec
from raysplit.ensemble.samples import Samples, draw_rows, select_samples


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 6), max_size=150),
    st.sets(st.integers(0, 6), min_size=1),
    st.booleans(),
    st.none() | st.integers(0, 30),
    st.integers(0, 9),
)
def test_own_images_are_all_there_and_negatives_never_of_an_own_class(labels, group, rest, negatives, seed):
    labels, group = torch.tensor(labels, dtype=torch.int64), sorted(group)
    drawn = draw_rows(labels, group, 7, rest, negatives, seed)
    rows, targets = drawn.rows, drawn.targets
    assert len(drawn) == len(rows) and rows.dtype == targets.dtype == torch.int64 and len(rows) == len(targets)
    assert len(set(rows.tolist())) == len(rows)
    counts = labels.bincount(minlength=7)
    shown = labels[rows].bincount(minlength=7)
    most = max(1, len(labels) // 70 - len(group)) if negatives is None else negatives
    for c in range(7):
        assert shown[c] == (counts[c] if c in group else min(int(counts[c]), most if rest else 0))
    for true, target in zip(labels[rows].tolist(), targets.tolist(), strict=True):
        assert target == (group.index(true) + rest if true in group else 0)
    if rest:
        assert not set(labels[rows[targets == 0]].tolist()) & set(group)


def test_the_rule_of_ec_snn_on_cifar10():
    """500 - |C_i| of the 50,000 images' other classes."""
    labels = torch.arange(10).repeat(5000)
    drawn = draw_rows(labels, (2, 7), 10, True, None, 0)
    rows, targets = drawn.rows, drawn.targets
    assert targets.bincount().tolist() == [8 * 498, 5000, 5000]
    assert labels[rows[targets == 2]].unique().tolist() == [7]


def test_samples_are_shuffled_by_the_seed_and_differ_between_groups():
    labels = torch.arange(10).repeat(20)
    drawn = draw_rows(labels, (1,), 10, True, 3, 0)
    rows, targets = drawn.rows, drawn.targets
    again = draw_rows(labels, (1,), 10, True, 3, 0).rows
    other = draw_rows(labels, (1,), 10, True, 3, 1).rows
    assert torch.equal(rows, again) and not torch.equal(rows, other)
    assert not torch.equal(targets, targets.sort().values), "own and other classes are mixed"
    beside = draw_rows(labels, (2,), 10, True, 3, 0).rows
    negatives = [set(r[labels[r] == 5].tolist()) for r in (rows, beside)]
    assert negatives[0] != negatives[1], "sub-models do not all see the same few negatives"


LABELS = torch.arange(400) % 4


@pytest.fixture
def spec():
    return SubmodelSpec(
        classes=(1,),
        rest=True,
        total_classes=4,
        k=1,
        model=ModelConfig(name="vit"),
        params=1,
        flops=1,
        file_bytes=1,
        device=None,
    )


def select(spec, redraw, epoch, seed=0):
    """Return the images that are selected, by number, and their targets."""
    numbers = torch.arange(400)
    groups = GroupsConfig(n=4, negatives=20, redraw=redraw)
    found = select_samples(Samples(numbers, LABELS, (0.5,), (0.5,), teacher=numbers * 10), spec, groups, seed, epoch)
    assert torch.equal(found.teacher, found.images * 10), "each image has its own teacher logits"
    return found.images, found.targets


def test_every_epoch_has_all_own_images_and_another_draw_of_the_rest(spec):
    epochs = [select(spec, True, epoch) for epoch in range(3)]
    for numbers, targets in epochs:
        assert set(numbers[targets == 1].tolist()) == set(range(1, 400, 4))
        assert (LABELS[numbers[targets == 0]] != 1).all() and len(numbers) == 100 + 3 * 20
    rest = [set(numbers[targets == 0].tolist()) for numbers, targets in epochs]
    assert rest[0] != rest[1] != rest[2] != rest[0]


def test_the_same_rest_throughout_when_it_is_not_redrawn(spec):
    first, later, other = (select(spec, False, epoch, seed)[0] for epoch, seed in ((0, 0), (5, 0), (0, 1)))
    assert torch.equal(first, later) and set(first.tolist()) != set(other.tolist())
