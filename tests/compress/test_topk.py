import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raysplit.compress.topk import bitmap_size, choose_top, count_picks, pack_mask, scatter_values, unpack_mask
from raysplit.errors import CodecError, WireError


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


@st.composite
def tensors(draw):
    """A tensor with distinct magnitudes, in an odd layout half of the time, and a k that it can give."""
    shape = draw(shapes)
    x = randn(*shape, seed=draw(st.integers(0, 99)))
    if len(shape) > 1 and draw(st.booleans()):
        x = x.transpose(0, 1)
    return x, draw(st.integers(1, x[0].numel()))


@given(tensors())
def test_the_largest_of_each_sample_are_chosen(sample):
    x, top = sample
    mask = choose_top(x, top)
    assert mask.shape == x.shape and mask.dtype == torch.bool
    for row, marked in zip(x, mask, strict=True):
        assert int(marked.sum()) == top
        assert row[marked].abs().sort().values.equal(row.abs().flatten().sort().values[-top:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_dtypes(dtype):
    x = torch.tensor([[1, -4, 2, 3], [0, 0, -1, 0.5]], dtype=dtype)
    assert choose_top(x, 2).tolist() == [[False, True, False, True], [False, False, True, True]]


@pytest.mark.parametrize("percent", [0, 30])
def test_ties_do_not_let_more_than_k_through(percent):
    for x in (torch.zeros(3, 50), torch.ones(3, 50), -torch.ones(3, 50)):
        assert choose_top(x, 7, percent, seed=1).sum(1).tolist() == [7, 7, 7]


def test_nan_is_not_lost():
    x = randn(2, 9)
    x[1, 4] = float("nan")
    assert choose_top(x, 1)[1].nonzero().tolist() == [[4]]


def test_no_samples():
    assert choose_top(torch.zeros(0, 8), 3).shape == choose_top(torch.zeros(0, 8), 3, 50).shape == (0, 8)


@given(tensors(), st.integers(1, 99), st.integers(0, 2**32))
def test_random_picks_are_still_k_of_each_sample(sample, percent, seed):
    x, top = sample
    mask = choose_top(x, top, percent, seed)
    assert (mask.flatten(1) if x.ndim > 1 else mask[:, None]).sum(1).tolist() == [top] * len(x)


@pytest.mark.parametrize("percent", [1, 10, 50, 99])
def test_random_picks_have_their_share(percent):
    """Of n·k picks a share p lies outside the top k: within 5σ, σ² = p(1−p)/(n·k)."""
    x, top = randn(400, 300), 25
    outside = (choose_top(x, top, percent, seed=7) & ~choose_top(x, top)).sum().item() / (400 * top)
    p = percent / 100
    assert abs(outside - p) < 5 * (p * (1 - p) / (400 * top)) ** 0.5


def test_random_picks_are_uniform_within_the_top_k_and_outside():
    """The same row 4000 times: every value of either group is picked equally often, within 5σ."""
    x = torch.arange(1.0, 21.0).expand(4000, 20)
    often = choose_top(x, 5, 20, seed=3).float().mean(0)
    inside, outside = often[15:], often[:15]
    assert (inside - 0.8).abs().max() < 5 * (0.8 * 0.2 / 4000) ** 0.5
    assert (outside - 5 * 0.2 / 15).abs().max() < 5 * (0.067 * 0.933 / 4000) ** 0.5


def test_random_picks_depend_on_the_seed_alone():
    x = randn(8, 100)
    torch.manual_seed(1)
    one = choose_top(x, 20, 30, seed=5)
    torch.manual_seed(2)
    assert choose_top(x, 20, 30, seed=5).equal(one)
    assert not choose_top(x, 20, 30, seed=6).equal(one)
    assert choose_top(x, 20, 0, seed=5).equal(choose_top(x, 20, 0, seed=6))


@pytest.mark.parametrize("top", [9, 10])
def test_random_picks_end_where_the_others_do(top):
    """At most 10 − k values are outside, however large the share."""
    x = randn(50, 10)
    mask = choose_top(x, top, 99, seed=1)
    assert mask.sum(1).tolist() == [top] * 50
    assert int((mask & ~choose_top(x, top)).sum(1).max()) == 10 - top


@pytest.mark.parametrize(("shape", "top"), [((), 1), ((3,), 2), ((3, 4), 5), ((2, 0, 4), 1)], ids=str)
def test_more_values_than_a_sample_has(shape, top):
    with pytest.raises(CodecError, match=f"cannot keep {top} values of each sample of a tensor of shape"):
        choose_top(torch.zeros(shape), top)


def test_picks():
    assert count_picks((3, 4, 5), 20) == 60 and count_picks((0, 4), 4) == 0 and count_picks((7,), 1) == 7


def test_bitmap_by_hand():
    mask = torch.tensor([[True, False, False, True, False], [False, True, False, False, True]])
    assert pack_mask(mask) == bytes([0b01001001, 0b10])
    assert unpack_mask(bytes([0b01001001, 0b10]), (2, 5), 2).equal(mask)


@given(tensors())
def test_bitmap_round_trip(sample):
    mask = choose_top(*sample)
    data = pack_mask(mask)
    assert len(data) == bitmap_size(mask.numel())
    assert unpack_mask(memoryview(data), mask.shape, sample[1]).equal(mask)


@pytest.mark.parametrize(
    "data",
    [bytes([0b01001011, 0b10]), bytes([0b01001000, 0b10]), bytes([0b01001001, 0b110]), bytes(2), b"\xff\xff"],
    ids=["more", "fewer", "padding", "none", "all"],
)
def test_bitmaps_that_do_not_mark_k_of_each(data):
    with pytest.raises(WireError, match=r"does not mark 2 values of each sample of shape \(2, 5\)"):
        unpack_mask(data, (2, 5), 2)


def test_spread():
    mask = torch.tensor([[True, False, True], [False, False, True]])
    for dtype in (torch.float32, torch.bfloat16):
        y = scatter_values(torch.tensor([1.0, 2.0, 3.0], dtype=dtype), mask)
        assert y.dtype == dtype and y.tolist() == [[1, 0, 2], [0, 0, 3]]
