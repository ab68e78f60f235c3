"""Recordings and their chunks: together in one split, with their speaker, and answered together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raysplit.config import DataConfig
from raysplit.data.clips import Clips, average_chunks, label_clips, split_clips
from raysplit.errors import DataError
from tests.examples import examples
from tests.sounds import AUDIO


def config(**more):
    return DataConfig(name="audio:mine", audio=AUDIO, **more)


def clips(chunks, groups, held_out=None):
    flags = [False] * len(chunks) if held_out is None else held_out
    return Clips(torch.tensor(chunks), torch.tensor(groups), torch.tensor(flags))


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5)), min_size=2, max_size=40).filter(
        lambda rows: len({group for _, group in rows}) > 1
    ),
    st.floats(0.05, 0.9),
    st.integers(0, 3),
)
@examples(60)
def test_no_group_is_on_both_sides(rows, fraction, seed):
    numbers = {group: number for number, group in enumerate(dict.fromkeys(group for _, group in rows))}
    found = clips([chunks for chunks, _ in rows], [numbers[group] for _, group in rows])
    train, val = split_clips(found, config(val_fraction=fraction, split_seed=seed))
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(len(rows))) and len(train) and len(val)
    assert not set(found.groups[train].tolist()) & set(found.groups[val].tolist())
    assert sorted([*found.rows(train).tolist(), *found.rows(val).tolist()]) == list(range(int(found.chunks.sum())))


def test_the_share_is_as_near_as_groups_allow():
    many = clips([2] * 1_000, list(range(100)) * 10)
    _, val = split_clips(many, config(val_fraction=0.1))
    assert len(val) == 100
    assert split_clips(many, config(val_fraction=0.1))[1].equal(val)
    assert not split_clips(many, config(val_fraction=0.1, split_seed=1))[1].equal(val)


def test_a_validation_split_of_the_data_set_is_used():
    given_ = clips([1, 2, 3, 1], [0, 0, 1, 1], [False, True, False, False])
    train, val = split_clips(given_, config())
    assert sorted(train.tolist()) == [0, 2, 3] and val.tolist() == [1]


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (4, 1), (9, 2), (1_000, 9)])
def test_train_rows_keeps_whole_recordings(rows, count):
    train, _ = split_clips(clips([4] * 10, list(range(10))), config(train_rows=rows))
    assert len(train) == count


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (clips([1, 1, 1], [0, 0, 0]), "all recordings are of one speaker or song"),
        (clips([3], [0]), "data.group"),
        (clips([1, 1], [0, 1], [True, True]), "none is left to train on"),
    ],
)
def test_impossible_splits(found, text):
    with pytest.raises(DataError, match=text):
        split_clips(found, config())


def test_chunks_are_averaged():
    probabilities = torch.rand(6, 3)
    found = average_chunks(probabilities, [1, 3, 2])
    assert found[0].equal(probabilities[0]) and found[1].equal(probabilities[1:4].mean(0)) and found.shape == (3, 3)
    assert label_clips(torch.tensor([5, 1, 1, 1, 2, 2]), [1, 3, 2]).tolist() == [5, 1, 2]
