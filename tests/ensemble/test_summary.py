"""The numbers of a summary, by hand."""

from __future__ import annotations

import pytest
import torch

from raysplit.config import ModelConfig
from raysplit.ensemble import summary
from raysplit.ensemble.plan import SubmodelSpec
from raysplit.ensemble.trainer import Samples

TEST = Samples(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2, 2, 3, 3]), (0.5,), (0.5,))


def seat(classes, rest):
    return SubmodelSpec(
        classes=classes,
        of=4,
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
    logits = torch.nn.functional.one_hot(torch.tensor([1, 2, 1, 0, 2, 1]), 3).float()
    assert summary._own_accuracy(seat((2, 3), True), logits, TEST) == pytest.approx(2 / 4)


def test_own_accuracy_without_a_rest_class():
    logits = torch.nn.functional.one_hot(torch.tensor([0, 0, 0, 0, 1, 0]), 2).float()
    assert summary._own_accuracy(seat((2, 3), False), logits, TEST) == pytest.approx(3 / 4)


def test_own_accuracy_of_classes_that_the_test_images_lack():
    few = Samples(TEST.images[:2], TEST.targets[:2], (0.5,), (0.5,))
    assert summary._own_accuracy(seat((2, 3), False), torch.zeros(2, 2), few) == 0.0


def test_confusion_has_the_truth_in_rows():
    answers = torch.tensor([0, 0, 2, 3, 3, 3])
    assert summary._confusion(TEST.targets, answers, 4) == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 2]]


def part(device, mib):
    return {"device": device, "mib": mib, "gmac": 10 * mib, "latency_ms": 100 * mib}


def test_a_device_bears_the_sum_of_its_sub_models():
    found = summary.per_device([part("a", 1), part("b", 5), part("a", 3), part("a", 2)])
    assert (found["mib_device_max"], found["mib_total"]) == (6, 11)
    assert (found["gmac_device_max"], found["latency_ms_device_max"], found["latency_ms_total"]) == (60, 600, 1100)


def test_without_devices_each_sub_model_has_its_own():
    assert summary.per_device([part(None, 1), part(None, 5), part(None, 3)])["mib_device_max"] == 5
