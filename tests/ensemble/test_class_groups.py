"""Class groups, and who is shown which images."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.ensemble.class_groups import class_groups, confusion_groups, samples_of
from raysplit.errors import ConfigError


def inside(confusion: torch.Tensor, groups) -> int:
    """Return the images that are confused with another class of the same group."""
    return sum(int(confusion[a, b]) for group in groups for a in group for b in group if a != b)


def confusions(classes: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 20, (classes, classes), generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.data(), st.integers(0, 99), st.booleans())
def test_groups_cover_every_class_once_and_are_near_equal(classes, data, seed, by_confusion):
    n = data.draw(st.integers(1, classes))
    groups = confusion_groups(confusions(classes, seed), n, seed) if by_confusion else class_groups(classes, n, seed)
    assert sorted(c for group in groups for c in group) == list(range(classes))
    assert len(groups) == n and max(map(len, groups)) - min(map(len, groups)) <= 1
    assert all(list(group) == sorted(group) for group in groups)


def test_the_seed_decides():
    assert class_groups(10, 3, 1) == class_groups(10, 3, 1)
    assert len({class_groups(10, 3, seed) for seed in range(5)}) > 1
    flat = torch.zeros(10, 10, dtype=torch.int64)
    assert confusion_groups(flat, 3, 1) == confusion_groups(flat, 3, 1)
    assert len({confusion_groups(flat, 3, seed) for seed in range(5)}) > 1


@pytest.mark.parametrize("n", [0, 11])
def test_more_groups_than_classes_are_refused(n):
    with pytest.raises(ConfigError, match=rf"^10 classes cannot be split into {n} groups; set groups.n to 1..10$"):
        class_groups(10, n, 0)
    with pytest.raises(ConfigError, match="set groups.n to 1..10"):
        confusion_groups(torch.zeros(10, 10, dtype=torch.int64), n, 0)


def test_what_is_confused_stays_together():
    """Cat and dog, car and truck, shirt and coat, whatever the diagonal and few other mistakes say."""
    confusion = torch.eye(6, dtype=torch.int64) * 1000 + 1
    for a, b in ((0, 5), (1, 3), (2, 4)):
        confusion[a, b] = 30
    for seed in range(5):
        assert set(confusion_groups(confusion, 3, seed)) == {(0, 5), (1, 3), (2, 4)}
    assert confusion.diagonal().tolist() == [1001] * 6, "the argument is left alone"


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.data(), st.integers(0, 99))
def test_no_swap_of_two_classes_keeps_more_confusion_inside(classes, data, seed):
    confusion = confusions(classes, seed)
    groups = confusion_groups(confusion, data.draw(st.integers(1, classes)), seed)
    best = inside(confusion, groups)
    for one, other in combinations(range(len(groups)), 2):
        for a in groups[one]:
            for b in groups[other]:
                swapped = [set(group) for group in groups]
                swapped[one] ^= {a, b}
                swapped[other] ^= {a, b}
                assert inside(confusion, swapped) <= best


def test_greedy_that_is_wrong_is_set_right_by_swaps():
    """3 with 0 is the greatest count, but 0 with 1 and 3 with 2 keep more inside."""
    confusion = torch.zeros(4, 4, dtype=torch.int64)
    confusion[0, 3], confusion[0, 1], confusion[2, 3] = 10, 9, 9
    for seed in range(5):
        assert set(confusion_groups(confusion, 2, seed)) == {(0, 1), (2, 3)}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 6), max_size=150),
    st.sets(st.integers(0, 6), min_size=1),
    st.booleans(),
    st.none() | st.integers(0, 30),
    st.integers(0, 9),
)
def test_own_images_are_all_there_and_negatives_never_of_an_own_class(labels, group, rest, negatives, seed):
    labels, group = torch.tensor(labels, dtype=torch.int64), sorted(group)
    rows, targets = samples_of(labels, group, 7, rest, negatives, seed)
    assert rows.dtype == targets.dtype == torch.int64 and len(rows) == len(targets)
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
    rows, targets = samples_of(labels, (2, 7), 10, True, None, 0)
    assert targets.bincount().tolist() == [8 * 498, 5000, 5000]
    assert labels[rows[targets == 2]].unique().tolist() == [7]


def test_samples_are_shuffled_by_the_seed_and_differ_between_groups():
    labels = torch.arange(10).repeat(20)
    rows, targets = samples_of(labels, (1,), 10, True, 3, 0)
    again, _ = samples_of(labels, (1,), 10, True, 3, 0)
    other, _ = samples_of(labels, (1,), 10, True, 3, 1)
    assert torch.equal(rows, again) and not torch.equal(rows, other)
    assert not torch.equal(targets, targets.sort().values), "own and other classes are mixed"
    beside, _ = samples_of(labels, (2,), 10, True, 3, 0)
    negatives = [set(r[labels[r] == 5].tolist()) for r in (rows, beside)]
    assert negatives[0] != negatives[1], "sub-models do not all see the same few negatives"
