import numpy as np
import pytest
import torch

from raysplit.data import batch_order, mean_std, prepare_batch
from raysplit.errors import DataError

PLAIN = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


@pytest.fixture
def images():
    return torch.randint(256, (64, 3, 16, 24), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_mean_std(images, monkeypatch):
    monkeypatch.setattr("raysplit.data.batches._CHUNK_BYTES", 10_000)
    mean, std = mean_std(images)
    x = images.double() / 255
    assert mean == pytest.approx(x.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert std == pytest.approx(x.std((0, 2, 3), correction=0).tolist(), rel=1e-12)
    assert mean_std(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)) == ((0.0,), (1 / 255,))
    with pytest.raises(DataError, match="no images"):
        mean_std(images[:0])


def test_batch_order():
    batches = batch_order(10, 3, seed=1, epoch=0)
    assert [len(b) for b in batches] == [3, 3, 3]
    rows = torch.cat(batches)
    assert rows.dtype == torch.int64 and len(rows.unique()) == 9 and rows.max() < 10
    assert torch.cat(batch_order(10, 3, seed=1, epoch=0)).equal(rows)
    others = [torch.cat(batch_order(10, 3, *se)) for se in [(1, 1), (2, 0), (0, 1), (1 + 2**32, 0)]]
    assert not any(other.equal(rows) for other in others)
    with pytest.raises(DataError, match=r"10 training rows do not fill one batch of 11; lower train.batch_size"):
        batch_order(10, 11, 0, 0)


def test_normalised(images):
    mean, std = mean_std(images)
    x = prepare_batch(images, mean, std, "none", 0)
    assert x.dtype == torch.float32 and x.shape == images.shape
    assert x.mean((0, 2, 3)).abs().max() < 1e-4 and (x.std((0, 2, 3)) - 1).abs().max() < 1e-3


@pytest.mark.parametrize("augment", ["crop", "crop_flip", "small_crop", "small_crop_flip"])
def test_augmented_as_if_one_by_one(images, augment):
    """Every image is one of the shifts (and mirrors) of its reflected original, made here with NumPy."""
    share, flips = 16 if augment.startswith("small") else 8, [False, True] if augment.endswith("_flip") else [False]
    reach = (16 // share, 24 // share)
    found = prepare_batch(images, **PLAIN, augment=augment, seed=3).mul(255).round().to(torch.uint8)
    seen = set()
    for original, moved in zip(images.numpy(), found.numpy(), strict=True):
        padded = np.pad(original, ((0, 0), (reach[0],) * 2, (reach[1],) * 2), mode="reflect")
        views = {
            (y, x, flip): padded[:, y : y + 16, x : x + 24][:, :, :: -1 if flip else 1].tobytes()
            for y in range(2 * reach[0] + 1)
            for x in range(2 * reach[1] + 1)
            for flip in flips
        }
        places = [place for place, view in views.items() if view == moved.tobytes()]
        assert len(places) == 1
        seen.add(places[0])
    assert [{place[axis] for place in seen} for axis in (0, 1)] == [set(range(2 * most + 1)) for most in reach]
    assert {flip for _, _, flip in seen} == set(flips)


def test_randomness_comes_from_the_seed_alone(images):
    before = images.clone()
    state = torch.get_rng_state()
    first = prepare_batch(images, **PLAIN, augment="crop_flip", seed=1)
    assert torch.get_rng_state().equal(state) and images.equal(before)
    torch.manual_seed(123)
    assert prepare_batch(images, **PLAIN, augment="crop_flip", seed=1).equal(first)
    assert not prepare_batch(images, **PLAIN, augment="crop_flip", seed=2).equal(first)


@pytest.mark.parametrize(("channels", "constant"), [(1, 0), (3, 0), (3, 2)])
def test_a_constant_channel_is_said(channels, constant, caplog):
    images = torch.arange(2 * channels * 16, dtype=torch.uint8).view(2, channels, 4, 4)
    mean_std(images)
    assert not caplog.text
    images[:, constant] = 7
    mean_std(images)
    assert caplog.messages == [
        f"channel {constant} of {channels} is 7 in every pixel of all 2 images, so nothing can be learned from it; "
        "look at the image files"
    ]
