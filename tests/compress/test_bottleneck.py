import math

import pytest
import torch

from raysplit.compress.bottleneck import Decoder, Encoder, code_shape
from raysplit.config import BottleneckConfig
from raysplit.errors import ConfigError

PLAIN = BottleneckConfig(start="random", order="learned")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def encoder_with(logits, config=PLAIN):
    encoder = Encoder(config, (len(logits), 4, 4), 1)
    with torch.no_grad():
        encoder.logits.copy_(torch.tensor(logits, dtype=torch.float32))
    return encoder


@pytest.mark.parametrize(
    ("stride", "pixels", "code"),
    [
        (stride, pixels, code)
        for stride, codes in ((1, (7, 8, 14, 32)), (2, (4, 5, 8, 17)), (3, (3, 4, 6, 12)))
        for pixels, code in zip((7, 8, 14, 32), codes, strict=True)
    ],
)
@pytest.mark.parametrize("width", [0, 3])
def test_shapes(stride, pixels, code, width):
    config, shape = PLAIN.replaced(stride=stride), (4, pixels, pixels + width)
    crossing = code_shape(config, shape, 1)
    assert crossing[:2] == (4, code) and (width or crossing[2] == code)
    z = Encoder(config, shape, 1)(torch.randn(2, *shape))
    assert z.shape == (2, *crossing)
    y = Decoder(config, shape, 1)(z)
    assert y.shape == (2, *shape) and (y >= 0).all()


@pytest.mark.parametrize(
    ("config", "shape", "channel_dim"),
    [
        (None, (4, 8, 8), 1),
        (BottleneckConfig(stride=2), (5, 8), 2),
        (PLAIN, (4, 4, 8), 3),
        (PLAIN, (8,), 1),
        (PLAIN, (8, 9, 9), 1),
    ],
)
def test_code_shape_is_the_shape(config, shape, channel_dim):
    assert code_shape(config, shape, channel_dim) == shape


@pytest.mark.parametrize("mode", ["paper", "raysplit"])
def test_encoder_by_hand(mode):
    """Two channels of 2x2: with a kernel of ones every output pixel of one channel is the sum of its four pixels."""
    encoder = Encoder(PLAIN.replaced(mode=mode), (2, 2, 2), 1).eval()
    with torch.no_grad():
        encoder.mix.weight.zero_()
        encoder.mix.weight[0, 0] = 1.0
        encoder.mix.weight[1, 1] = -1.0
        encoder.mix.bias.copy_(torch.tensor([0.25, 0.5]))
        encoder.norm.running_mean.copy_(torch.tensor([1.0, -2.0]))
        encoder.norm.running_var.copy_(torch.tensor([4.0, 9.0]))
        encoder.norm.weight.copy_(torch.tensor([3.0, 0.5]))
        encoder.norm.bias.copy_(torch.tensor([-1.0, 1.5]))
        encoder.logits.copy_(torch.tensor([0.0, 2.0]))
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.5, 0.5], [0.5, -0.5]]]])

    def sigmoid(value):
        return 1 / (1 + math.exp(-value))

    def squash(value):
        return sigmoid(value) if mode == "paper" else min(max(value / 2, 0.0), 1.0)

    # In our mode 12.9 is cut to 1, and 1.75 is not.
    first = squash(3 * (10 + 0.25 - 1) / math.sqrt(4 + 1e-4) - 1) * 0.5
    second = squash(0.5 * (-1 + 0.5 + 2) / math.sqrt(9 + 1e-4) + 1.5) * sigmoid(2)
    z = encoder(x)
    assert z[0, 0].flatten().tolist() == pytest.approx([first] * 4, rel=1e-5)
    assert z[0, 1].flatten().tolist() == pytest.approx([second] * 4, rel=1e-5)


def test_decoder_by_hand():
    """A kernel with only its centre set copies the pixels; ReLU cuts what is below zero after the norm."""
    decoder = Decoder(PLAIN, (1, 2, 2), 1).eval()
    with torch.no_grad():
        decoder.mix.weight.zero_()
        decoder.mix.weight[0, 0, 1, 1] = 2.0
        decoder.mix.bias.fill_(1.0)
        decoder.norm.running_mean.fill_(3.0)
    z = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    expected = [0.0, 0.0, 2 / math.sqrt(1 + 1e-4), 4 / math.sqrt(1 + 1e-4)]
    assert decoder(z).flatten().tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("half", [Encoder, Decoder])
@pytest.mark.parametrize(("mode", "momentum"), [("paper", 0.03), ("raysplit", 0.1)])
def test_batch_norm_is_the_papers_or_follows_a_new_level_faster(half, mode, momentum):
    module = half(PLAIN.replaced(mode=mode), (2, 4, 4), 1)
    assert (module.norm.momentum, module.norm.eps) == (momentum, 1e-4)
    x = torch.randn(8, 2, 4, 4)
    mean = module.mix(x).mean((0, 2, 3))
    module(x)
    assert module.norm.running_mean.tolist() == pytest.approx((momentum * mean).tolist(), rel=1e-4)


def test_logits_start_between_0_and_15():
    logits = Encoder(PLAIN, (512, 2, 2), 1).logits
    assert logits.requires_grad and logits.min() >= 0 and logits.max() < 15
    assert 6.5 < logits.mean() < 8.5, "15·U(0, 1) has mean 7.5 ± 0.19 over 512 channels"


@pytest.mark.parametrize(
    ("logits", "budget", "kept"),
    [
        ([1.0, 3.0, 2.0, 0.0], 2, (1, 2)),
        ([1.0, 3.0, 2.0, 0.0], 1, (1,)),
        ([7.0] * 6, 3, (0, 1, 2)),
        ([5.0, 9.0, 5.0, 5.0], 2, (0, 1)),
        ([15.0, 15.0, 1.0, 15.0, 15.0], 3, (0, 1, 3)),
        ([40.0, 60.0, 50.0], 1, (1,)),  # σ(p)² is 1 for all of them in float32
        ([-1.0, -2.0], 2, None),
        ([-1.0, -2.0], 9, None),
        ([-1.0, -2.0], None, None),
    ],
)
def test_keep_is_exactly_the_budget(logits, budget, kept):
    assert encoder_with(logits).choose_channels(budget) == kept


@pytest.mark.parametrize("budget", [1, 4, 63, 100])
def test_keep_breaks_all_ties_by_the_lowest_index(budget):
    """Sorts that are not stable scramble ties only in long tensors."""
    encoder = encoder_with([15.0] * 128)
    assert encoder.choose_channels(budget) == tuple(range(budget))
    encoder.reset_logits(seeded())
    assert encoder.choose_channels(budget) == tuple(range(budget))


def test_keep_takes_the_largest():
    encoder = Encoder(PLAIN, (64, 2, 2), 1)
    assert set(encoder.choose_channels(10)) == set(encoder.logits.topk(10).indices.tolist())


def test_penalty_by_hand():
    """Eight logits of 0: S = 8·σ(0)² = 2."""
    encoder = encoder_with([0.0] * 8)
    for budget in (1, 2, 4):
        expected = 1000 * (math.exp(0.01 * (2 - budget)) + math.exp(-0.01 * (2 - budget)))
        assert encoder.penalty(budget).item() == pytest.approx(expected, rel=1e-6)
    assert encoder.penalty(2).item() == pytest.approx(2000)
    other = encoder_with([0.0] * 8, PLAIN.replaced(penalty=3, sharpness=0.05))
    assert other.penalty(6).item() == pytest.approx(3 * (math.exp(0.2) + math.exp(-0.2)))


@pytest.mark.parametrize(("budget", "sign"), [(1, 1), (2, 0), (3, -1), (8, -1)])
def test_penalty_pulls_towards_the_budget(budget, sign):
    """S = 2: a larger budget must raise the logits (negative gradient), a smaller one lower them."""
    encoder = encoder_with([0.0] * 8)
    encoder.penalty(budget).backward()
    assert torch.sign(encoder.logits.grad).tolist() == [sign] * 8
    assert encoder.penalty(budget) >= encoder.penalty(2)


@pytest.mark.parametrize("budget", [1, 4])
def test_descent_on_the_penalty_ends_at_the_budget(budget):
    encoder = encoder_with([-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    optimizer = torch.optim.SGD([encoder.logits], lr=1.0)
    for _ in range(300):
        optimizer.zero_grad()
        encoder.penalty(budget).backward()
        optimizer.step()
    assert torch.sigmoid(encoder.logits).square().sum().item() == pytest.approx(budget, abs=0.05)


def test_reset_logits():
    before = [-3.0, 0.0, 0.89, 0.91, 2.0, 14.0] * 20
    one, two, other = (encoder_with(before) for _ in range(3))
    one.reset_logits(seeded(1))
    two.reset_logits(seeded(1))
    other.reset_logits(seeded(2))
    low = torch.tensor(before) < 0.9
    redrawn = one.logits.detach()[low]
    assert (one.logits[~low] == 15).all()
    assert redrawn.min() >= 0 and redrawn.max() < 3 and len(redrawn.unique()) > 50
    assert 1.1 < redrawn.mean() < 1.9, "U(0, 3) has mean 1.5 ± 0.11 over 60 channels"
    assert two.logits.equal(one.logits) and not other.logits.equal(one.logits)
    assert one.logits.requires_grad and one.logits.is_leaf


def test_train_logits():
    encoder = encoder_with([1.0, 2.0])
    for wanted in (False, True):
        encoder.train_logits(wanted)
        encoder(torch.randn(2, 2, 4, 4)).square().sum().backward()
        assert (encoder.logits.grad is not None) == wanted
        assert encoder.mix.weight.grad is not None


@pytest.mark.parametrize(("shape", "channel_dim"), [((5, 8), 2), ((4, 3, 8), 3), ((8,), 1)])
def test_tokens(shape, channel_dim):
    """Tokens keep their shape, are encoded one by one, and are normalised and gated per channel."""
    encoder, decoder = Encoder(PLAIN, shape, channel_dim), Decoder(PLAIN, shape, channel_dim)
    x = torch.randn(6, *shape)
    z = encoder(x)
    assert z.shape == x.shape and encoder.norm.num_features == len(encoder.logits) == 8
    assert decoder(z).shape == x.shape and (decoder(z) >= 0).all()
    encoder.eval()
    rows = x.flatten(0, -2)
    expected = (encoder.norm(encoder.mix(rows)) / 2).clamp(0, 1) * torch.sigmoid(encoder.logits)
    torch.testing.assert_close(encoder(x).flatten(0, -2), expected)
    with torch.no_grad():
        encoder.logits[3] = -100.0
    assert (encoder(x)[..., 3] == 0).all() and (encoder(x)[..., 2] > 0).any()


@pytest.mark.parametrize("half", [Encoder, Decoder])
@pytest.mark.parametrize(("shape", "channel_dim"), [((5, 8), 2), ((4, 4, 8), 3), ((8,), 1)])
def test_tokens_have_no_stride(half, shape, channel_dim):
    with pytest.raises(ConfigError, match=r"bottleneck.stride=2 needs a \(C, H, W\) tensor at the cut, .* set it to 1"):
        half(BottleneckConfig(stride=2), shape, channel_dim)


def test_decoder_takes_zeros_for_channels_not_sent():
    encoder, decoder = Encoder(PLAIN, (4, 4, 4), 1), Decoder(PLAIN, (4, 4, 4), 1).eval()
    z = encoder(torch.randn(2, 4, 4, 4)).detach()
    masked = z.clone()
    masked[:, [0, 3]] = 0
    with torch.no_grad():
        decoder.mix.weight[[0, 3]] = 0
    torch.testing.assert_close(decoder(z), decoder(masked))


def test_the_penalty_leaves_gates_open_on_wide_cuts():
    """At C = 2048 the published sharpness would shut every gate within fifty steps."""
    torch.manual_seed(0)
    encoder = Encoder(PLAIN, (2048, 1, 1), 1)
    sgd = torch.optim.SGD([encoder.logits], lr=0.05, momentum=0.9)
    for _ in range(200):
        sgd.zero_grad()
        encoder.penalty(4).backward()
        sgd.step()
    assert float(torch.sigmoid(encoder.logits.detach()).max()) > 0.5


def test_a_sharpness_that_overflows_is_refused():
    with pytest.raises(ConfigError, match=r"sharpness=0.1 overflows with 1024 channels at the cut; at most 0.078"):
        Encoder(BottleneckConfig(mode="paper", sharpness=0.1), (1024, 4, 4), 1)
