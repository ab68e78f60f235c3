"""How one data set is dealt to many devices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raysplit.config import Shards
from raysplit.data.shards import deal, deal_values, draw_shares
from raysplit.errors import DataError
from tests.examples import examples

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=80)
SHARDS = st.sampled_from(["iid", "classes(1)", "classes(3)", "dirichlet(0.02)", "dirichlet(0.5)", "dirichlet(100)"])


@given(labels=LABELS, other=LABELS, shards=SHARDS, count=st.integers(5, 9), seed=st.integers(0, 9))
@examples(300)
def test_every_row_of_every_split_goes_to_one_device(labels, other, shards, count, seed):
    dealt = Shards(shards)
    shares = draw_shares(dealt, torch.tensor(labels), 5, count, seed, least=0)
    assert shares.sum(1) == pytest.approx(1)
    for split, rows in (("train", torch.tensor(labels)), ("test", torch.tensor(other))):
        owners = deal(dealt, shares, rows, seed, split)
        assert len(owners) == len(rows) and 0 <= int(owners.min()) <= int(owners.max()) < count
        assert torch.equal(owners, deal(dealt, shares, rows, seed, split)), "the seed alone decides"


@given(values=st.lists(st.sampled_from("abcdefg"), min_size=20, max_size=60), count=st.integers(1, 3))
@examples(100)
def test_rows_with_equal_values_stay_together(values, count):
    values = [*values, *"abc"]
    owners = deal_values(values, values, count, "speaker").tolist()
    assert len(set(zip(values, owners, strict=True))) == len(set(values))
    assert set(owners) == set(range(count))


def owners(
    shards: str, rows: int = 600, count: int = 6, seed: int = 0, least: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(rows) % 6
    return labels, deal(
        Shards(shards), draw_shares(Shards(shards), labels, 6, count, seed, least), labels, seed, "train"
    )


def shares_of(shards: str, **about: int) -> torch.Tensor:
    """Return how much of each device's rows is of its largest class."""
    labels, dealt = owners(shards, **about)
    table = torch.zeros(6, 6).index_put_((dealt, labels), torch.ones(len(labels)), accumulate=True)
    return table.max(1).values / table.sum(1)


def test_iid_shards_are_equally_large_and_mixed():
    assert owners("iid")[1].bincount().tolist() == [100] * 6
    assert owners("iid", rows=602)[1].bincount().tolist() == [101, 101, 100, 100, 100, 100]
    assert shares_of("iid").max() < 0.35


def test_dirichlet_shards_grow_apart_as_alpha_shrinks_and_follow_the_seed():
    near, middle, far = (shares_of(f"dirichlet({alpha})").mean() for alpha in (100, 1, 0.05))
    assert near < 0.25 < middle < far
    assert not torch.equal(owners("dirichlet(0.5)", seed=1)[1], owners("dirichlet(0.5)", seed=2)[1])


def test_dirichlet_shares_are_drawn_anew_until_every_device_has_a_batch():
    assert owners("dirichlet(0.1)", least=30)[1].bincount(minlength=6).min() >= 30


@pytest.mark.parametrize(("shards", "most"), [("classes(1)", 1), ("classes(2)", 2), ("classes(6)", 6)])
def test_each_device_has_so_many_classes(shards, most):
    labels, dealt = owners(shards)
    assert [len(labels[dealt == device].unique()) for device in range(6)] == [most] * 6


def test_a_splits_rows_follow_the_shares_of_the_training_rows():
    labels = torch.arange(6000) % 6
    shares = draw_shares(Shards("dirichlet(0.3)"), labels, 6, 4, seed=0, least=1)
    few = torch.arange(600) % 6
    many, some = (
        deal(Shards("dirichlet(0.3)"), shares, rows, 0, split) for rows, split in ((labels, "train"), (few, "val"))
    )
    assert torch.allclose(many.bincount(minlength=4) / 6000, some.bincount(minlength=4) / 600, atol=0.01)


@pytest.mark.parametrize(
    ("shards", "rows", "count", "least", "text"),
    [
        ("iid", 5, 6, 1, "5 training rows dealt to 6 devices leave device 5 with 0, fewer than a batch of 1"),
        (
            "iid",
            100,
            6,
            17,
            "leave device 4 with 16, fewer than a batch of 17; lower devices.count or train.batch_size",
        ),
        ("dirichlet(0.01)", 60, 6, 11, "devices.shards=dirichlet.0.01.: 60 training rows dealt to 6 devices"),
        ("classes(1)", 60, 3, 1, "3 devices take 3 of 6 classes, .* set at least classes.2."),
        ("classes(7)", 60, 6, 1, "classes.7.: the data have 6 classes; lower it"),
    ],
)
def test_what_cannot_be_dealt(shards, rows, count, least, text):
    with pytest.raises(DataError, match=text):
        owners(shards, rows, count, least=least)


def test_a_column_with_too_few_values():
    with pytest.raises(DataError, match=r"column\(site\): the training rows have 2 values for 3 devices"):
        deal_values(["a", "b"], ["a", "b"], 3, "site")
