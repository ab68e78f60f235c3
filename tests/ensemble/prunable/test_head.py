"""The rows of a head that a sub-model has."""

from __future__ import annotations

import torch

from raysplit.ensemble.prunable.head import class_rows


def test_rows_of_a_head():
    head = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 8.0], [6.0, 7.0]])
    assert class_rows(head, [2, 0], rest=False).tolist() == [[4, 8], [0, 1]]
    assert class_rows(head, [2, 0], rest=True).tolist() == [[4, 5], [4, 8], [0, 1]]
    assert torch.equal(class_rows(head, None, rest=False), head)
    assert class_rows(head[:, 0], [0, 1, 2, 3], rest=True).tolist() == [0, 0, 2, 4, 6]
