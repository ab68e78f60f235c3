import pytest
import torch

from raysplit.torch_utils.layout import arrange_like, find_order


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 0, 1), (0, 2, 3, 1), (3, 1, 0, 2)])
def test_the_order_of_a_permuted_tensor_is_found(order):
    value = torch.empty(*range(2, 2 + len(order)))
    inverse = [order.index(dim) for dim in range(len(order))]
    assert find_order(value.permute(inverse)) == order


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(torch.empty(2, 3, 4), id="contiguous"),
        pytest.param(torch.empty(2, 3, 1, 1).permute(0, 2, 3, 1), id="one pixel"),
        pytest.param(torch.empty(4, 1).expand(4, 3), id="expanded"),
        pytest.param(torch.empty(4, 6)[:, ::2], id="strided"),
    ],
)
def test_what_is_no_permutation_has_none(value):
    assert find_order(value) is None


def test_the_values_stay_and_the_layout_changes():
    x, like = torch.arange(24.0).reshape(2, 3, 4), torch.empty(4, 3, 2, dtype=torch.float64).permute(2, 1, 0)
    laid_out = arrange_like(x, like)
    assert laid_out.stride() == like.stride() and laid_out.dtype == torch.float64
    assert torch.equal(laid_out, x.double())
