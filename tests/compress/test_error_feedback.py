import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.compress.error_feedback import ErrorFeedback
from raysplit.compress.quantizing_codec import QuantizingCodec, extract, positions
from raysplit.config import Level

SHAPE = (4, 6, 3, 3)


def gradients(count, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(SHAPE, generator=generator).to(dtype) for _ in range(count)]


def begun(level):
    feedback = ErrorFeedback()
    feedback.begin(level)
    return feedback


def where(kept, mask):
    """What is sent, as a mask over the whole tensor."""
    sent = torch.zeros(SHAPE, dtype=torch.bool)
    sent[:, list(range(SHAPE[1]) if kept is None else kept)] = True if mask is None else mask
    return sent


LEVELS = [
    "all.b4/b4.ef",
    "all.b4/b2.ef",
    "c2.b4/b3.ch.ef",
    "c3.k7.b4/b4.ef.zstd",
    "all.k20r30.b32/b8.ef",
    "c2.b4/b16.ef",
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("text", LEVELS)
@settings(max_examples=10)
@given(seed=st.integers(0, 999))
def test_the_sum_is_conserved(text, dtype, seed):
    """All that was sent, and the residual, are all gradients that were to be sent; channels and positions change."""
    level = Level.model_validate(text)
    codec, up, feedback = QuantizingCodec(level, "down"), QuantizingCodec(level, "up"), begun(level)
    owed, got = torch.zeros(SHAPE, dtype=torch.float64), torch.zeros(SHAPE, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    for number, g in enumerate(gradients(12, seed, dtype)):
        kept = None
        if level.channels is not None:
            kept = tuple(sorted(torch.randperm(SHAPE[1], generator=generator)[: level.channels].tolist()))
        mask = positions(up.compress(g, number, kept, seed=number))
        message = feedback.compress(codec, g, number, kept, mask)
        assert message.batch == number and message.channels == kept
        owed += torch.where(where(kept, mask), g, torch.zeros_like(g)).double()
        got += extract(message, mask).double()
    residual = feedback.state()["residual"]
    assert (got + residual - owed).abs().max() < 1e-4
    if codec.bits < 16 or dtype == torch.float32:
        assert residual.abs().max() > 0, "rounding loses something, unless 16-bit values go as they are"


def test_the_residual_of_what_is_not_sent_waits():
    level = Level.model_validate("c1.b32/b2.ef")
    codec, feedback, (g, h) = QuantizingCodec(level, "down"), begun(level), gradients(2)
    feedback.compress(codec, g, 0, (0,), None)
    first = feedback.state()["residual"]
    assert not first[:, 1:].any() and first[:, 0].any()
    feedback.compress(codec, h, 1, (3,), None)
    assert feedback.state()["residual"][:, 0].equal(first[:, 0]) and feedback.state()["residual"][:, 3].any()


def test_a_small_gradient_gets_through_in_time():
    """A value of a tenth of a step is rounded away each time; with feedback it is sent every tenth time."""
    level = Level.model_validate("all.b32/b2.ef")
    codec, feedback = QuantizingCodec(level, "down"), begun(level)
    g = torch.tensor([[-3.0, 0.0, 0.1, 3.0]]) + torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    plain = extract(codec.compress(g, seed=None))
    mean = torch.stack([extract(feedback.compress(codec, g, n, None, None)) for n in range(200)]).mean(0)
    assert (plain - g).abs().max() > 0.05
    assert (mean - g).abs().max() < 0.02


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_what_is_carried_does_not_grow(bits):
    level = Level(down_bits=bits, feedback=True)
    codec, feedback, sizes = QuantizingCodec(level, "down"), begun(level), []
    for number, g in enumerate(gradients(300)):
        feedback.compress(codec, g, number, None, None)
        sizes.append(float(feedback.state()["residual"].abs().max()))
    assert max(sizes[200:]) < 2 * max(sizes[:50])


def test_a_new_level_starts_afresh():
    level, other = Level.model_validate("all.b4/b4.ef"), Level.model_validate("all.b2/b2.ef")
    feedback = begun(level)
    feedback.compress(QuantizingCodec(level, "down"), gradients(1)[0], 0, None, None)
    feedback.begin(level)
    assert feedback.state()["residual"] is not None
    feedback.begin(other)
    assert feedback.state() == {"level": str(other), "residual": None}


def test_another_shape_starts_afresh():
    level = Level.model_validate("all.b4/b4.ef")
    codec, feedback, g = QuantizingCodec(level, "down"), begun(level), gradients(1)[0]
    feedback.compress(codec, g, 0, None, None)
    message = feedback.compress(codec, g[:2], 1, None, None)
    assert message.body == codec.compress(g[:2], seed=None).body
    assert feedback.state()["residual"].shape == g[:2].shape


def test_restore_goes_on_as_if_nothing_had_happened():
    level = Level.model_validate("all.b4/b3.ef")
    codec, whole, again = QuantizingCodec(level, "down"), begun(level), ErrorFeedback()
    one, two, three = gradients(3)
    whole.compress(codec, one, 0, None, None)
    whole.compress(codec, two, 1, None, None)
    state = whole.state()
    expected = whole.compress(codec, three, 2, None, None)
    again.restore(state)
    again.begin(level)
    assert again.compress(codec, three, 2, None, None) == expected


def test_the_gradient_is_left_alone():
    level, (g,) = Level.model_validate("all.b4/b4.ef"), gradients(1)
    feedback, before = begun(level), g.clone()
    for number in range(2):
        feedback.compress(QuantizingCodec(level, "down"), g, number, None, None)
    assert g.equal(before)
