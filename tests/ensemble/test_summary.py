"""The numbers of a summary, by hand."""

from __future__ import annotations

import pytest
import torch

from raysplit.config import ModelConfig
from raysplit.config.ensemble_plan import SubmodelSpec
from raysplit.ensemble import summary
from raysplit.ensemble.samples import Samples

TEST = Samples(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2, 2, 3, 3]), (0.5,), (0.5,))


def spec(classes, rest):
    return SubmodelSpec(
        classes=classes,
        total_classes=4,
        rest=rest,
        k=1,
        model=ModelConfig(name="vit"),
        params=1,
        file_bytes=1,
        flops=1,
        device=None,
    )


def test_own_accuracy_counts_the_rest_class_as_wrong():
    # Of classes 2 and 3: right, taken for the rest, right, taken for the other; images of others do not count.
    predictions = torch.tensor([1, 2, 1, 0, 2, 1])
    assert summary._own_accuracy(spec((2, 3), True), predictions, TEST) == pytest.approx(2 / 4)


def test_own_accuracy_without_a_rest_class():
    predictions = torch.tensor([0, 0, 0, 0, 1, 0])
    assert summary._own_accuracy(spec((2, 3), False), predictions, TEST) == pytest.approx(3 / 4)


def test_own_accuracy_of_classes_that_the_test_images_lack():
    few = Samples(TEST.images[:2], TEST.targets[:2], (0.5,), (0.5,))
    assert summary._own_accuracy(spec((2, 3), False), torch.zeros(2, dtype=torch.int64), few) == 0.0


def test_confusion_has_the_truth_in_rows():
    predictions = torch.tensor([0, 0, 2, 3, 3, 3])
    expected = ((1, 0, 0, 0), (1, 0, 0, 0), (0, 0, 1, 1), (0, 0, 0, 2))
    assert summary._confusion_matrix(TEST.targets, predictions, 4) == expected
