"""Right answers over batches that begin and end anywhere in a recording."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raysplit.train.clip_votes import ClipVotes
from tests.examples import examples


@given(st.lists(st.integers(1, 7), min_size=1, max_size=12), st.integers(1, 9), st.integers(0, 99))
@examples(60)
def test_batches_do_not_matter(chunks, size, seed):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(sum(chunks), 3, generator=random)
    labels = torch.randint(3, (len(chunks),), generator=random)
    targets = labels.repeat_interleave(torch.tensor(chunks))
    votes = ClipVotes(chunks)
    found = [votes.count(a, b) for a, b in zip(logits.split(size), targets.split(size), strict=True)]
    means = torch.stack([part.softmax(1).mean(0) for part in logits.split(chunks)])
    assert sum(one.given for one in found) == len(chunks)
    assert sum(one.correct for one in found) == int((means.argmax(1) == labels).sum())


@pytest.mark.parametrize("size", [1, 4])
def test_without_recordings_every_row_is_an_answer(size):
    votes, logits = ClipVotes(None), torch.eye(4)
    found = [
        votes.count(*batch) for batch in zip(logits.split(size), torch.tensor([0, 1, 3, 3]).split(size), strict=True)
    ]
    assert sum(one.correct for one in found) == 3 and sum(one.given for one in found) == 4


def test_a_majority_of_chunks_may_be_outvoted():
    """Probabilities are averaged: one sure chunk counts more than two that are in doubt."""
    logits = torch.tensor([[0.1, 0.0], [0.1, 0.0], [0.0, 9.0]])
    assert ClipVotes([3]).count(logits, torch.tensor([1, 1, 1])).correct == 1
