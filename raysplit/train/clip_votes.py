"""Right answers of an evaluation pass: one for each image, and one for all chunks of a recording together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from raysplit.data.clips import average_chunks, label_clips


class Answers(NamedTuple):
    """How many answers were given, and how many of them were right."""

    correct: int
    given: int


class ClipVotes:
    """Counts right answers batch by batch, in the order of a split's rows.

    A recording is answered by the class with the largest mean probability over its chunks, in the batch that has its
    last one.

    >>> votes = ClipVotes([2, 1])
    >>> sure = torch.tensor([[5.0, 0.0]])
    >>> votes.count(sure, torch.tensor([0])), votes.count(sure.expand(2, 2), torch.tensor([0, 1]))
    (Answers(correct=0, given=0), Answers(correct=1, given=2))
    """

    def __init__(self, chunks: Sequence[int] | None):
        """`chunks` are those of each recording; None: every row is an answer."""
        self._chunks = None if chunks is None else list(chunks)
        self._probabilities: list[torch.Tensor] = []
        self._targets: list[torch.Tensor] = []

    def count(self, logits: torch.Tensor, targets: torch.Tensor) -> Answers:
        """Take the next batch, (B, classes) and int64 (B,), and return the answers that it completes."""
        if self._chunks is None:
            return Answers(int((logits.argmax(1) == targets).sum()), len(targets))
        probabilities = torch.cat([*self._probabilities, logits.float().softmax(1)])
        known = torch.cat([*self._targets, targets])
        ended, rows = 0, 0
        while ended < len(self._chunks) and rows + self._chunks[ended] <= len(known):
            rows += self._chunks[ended]
            ended += 1
        self._probabilities, self._targets = [probabilities[rows:]], [known[rows:]]
        if not ended:
            return Answers(0, 0)
        chunks, self._chunks = self._chunks[:ended], self._chunks[ended:]
        answers = average_chunks(probabilities[:rows], chunks).argmax(1)
        return Answers(int((answers == label_clips(known[:rows], chunks).to(answers)).sum()), ended)
