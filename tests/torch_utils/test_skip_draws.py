"""Skipped draws leave the generator as the draws themselves do, whatever their number."""

from __future__ import annotations

import pytest
import torch

from raysplit.torch_utils.skip_draws import DrawSkipper

ATEN = torch.ops.aten
CHUNK = 2**14
SIZES = [*range(40), 100, 1001, *(CHUNK + d for d in (-17, -1, 0, 1, 15, 16, 17, 31)), 2 * CHUNK + 1, 100_000, 123_457]
FILLS = [
    (ATEN.uniform_.default, ()),
    (ATEN.uniform_.default, (-0.3, 0.2)),
    (ATEN.normal_.default, ()),
    (ATEN.normal_.default, (1.0, 0.02)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("operation", "arguments"), FILLS)
def test_a_fill_that_is_skipped(operation, arguments, dtype):
    skipper = DrawSkipper()
    for size in SIZES:
        torch.manual_seed(size)
        operation(torch.empty(size, dtype=dtype), *arguments)
        expected = torch.get_rng_state()
        torch.manual_seed(size)
        skipper.skip(operation, (size,), dtype, arguments)
        assert torch.get_rng_state().equal(expected), size


@pytest.mark.parametrize("operation", [ATEN.rand.default, ATEN.randn.default])
def test_a_factory_that_is_skipped(operation):
    skipper = DrawSkipper()
    for size in SIZES:
        torch.manual_seed(size)
        operation([size])
        expected = torch.get_rng_state()
        torch.manual_seed(size)
        skipper.skip(operation, (size,), torch.float32)
        assert torch.get_rng_state().equal(expected), size


def test_draws_of_few_values_leave_half_a_pair_of_normal_numbers_behind():
    """Box-Muller gives two at a time; the second one waits in the generator's state."""
    torch.manual_seed(0)
    expected = [torch.empty(n).normal_() for n in (3, 5, 20, 1)][-1]
    torch.manual_seed(0)
    skipper = DrawSkipper()
    for n in (3, 5, 20):
        skipper.skip(ATEN.normal_.default, (n,), torch.float32)
    assert torch.empty(1).normal_().equal(expected)


def test_what_cannot_be_skipped():
    assert DrawSkipper.can_skip(ATEN.normal_.default, torch.float32, contiguous=True)
    assert not DrawSkipper.can_skip(ATEN.normal_.default, torch.float32, contiguous=False)
    assert not DrawSkipper.can_skip(ATEN.normal_.default, torch.bfloat16, contiguous=True)
    assert not DrawSkipper.can_skip(ATEN.bernoulli_.float, torch.float32, contiguous=True)
    assert not DrawSkipper.can_skip(ATEN.randperm.default, torch.int64, contiguous=True)
