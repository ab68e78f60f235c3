"""The layer in somebody's own network, against that network without it and against our own split training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from raysplit.compress.layer import CompressedCut
from raysplit.compress.quantizing_codec import QuantizingCodec, bitmap_size
from raysplit.config import BottleneckConfig, Fixed, Level
from raysplit.data import batch_order, load, mean_std, prepare_batch
from raysplit.errors import ConfigError
from raysplit.torch_utils.optim import HalfOptimizer
from raysplit.torch_utils.seeds import mix
from raysplit.train.halves import build_halves
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from raysplit.wire.message import header_size
from tests.train.recipes import plain_config

SHAPE = (6, 4, 4)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 10)
    )


def train(net, steps=5):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    generator, losses = torch.Generator().manual_seed(1), []
    for _ in range(steps):
        x, y = torch.randn(6, 1, 8, 8, generator=generator), torch.randint(10, (6,), generator=generator)
        loss = cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("place", [0, 1, 3, 5, 6])
def test_at_fp32_it_changes_nothing(place):
    plain, other = network(), network()
    cut = CompressedCut("all.b32/b32")
    assert train(plain) == train(nn.Sequential(*other[:place], cut, *other[place:]))
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), other.state_dict().values(), strict=True))
    shape = {0: (1, 8, 8), 1: (8, 6, 6), 3: (8, 6, 6), 5: (72,), 6: (10,)}[place]
    size = QuantizingCodec(Level(), "up").estimate((6, *shape)).bytes
    assert (cut.bytes_up, cut.bytes_down) == (5 * size, 0 if place == 0 else 5 * size)


@pytest.mark.parametrize("level", ["c4.b4/b4", "c4.b4/b4.ef.zstd", "c4.k9r20.b4/b8", "all.b8/b8.ch"])
def test_a_loop_with_the_layer_is_split_training_bit_for_bit(level):
    plain = plain_config()
    args = {"width": 0.125, "dropout": 0.0}
    config = plain.replaced(
        bottleneck=BottleneckConfig(),
        schedule=Fixed(level=level),
        model=plain.model.replaced(args=args),
        train=plain.train.replaced(epochs=2),
    )
    loop = Loop(config, LocalDevice(config))
    records = list(loop.epochs())

    data, fit = load(config.data, "train"), config.train
    built, (mean, std) = build_halves(config, 10, (1, 8, 8)), mean_std(data.images)
    cut = CompressedCut(level, bottleneck=config.bottleneck, shape=built.cut.shape, seed=fit.seed)
    cut.encoder.load_state_dict(built.device.encoder.state_dict())
    cut.decoder.load_state_dict(built.server.decoder.state_dict())
    net = nn.Sequential(built.device.body, cut, built.server.body)
    optimizer = HalfOptimizer(net, fit, loop.steps * fit.epochs, decay_logits=False)
    for epoch in range(fit.epochs):
        for rows in batch_order(len(data.labels), fit.batch_size, mix(fit.seed, "order"), epoch):
            seed = mix(fit.seed, "augment", cut.batch)
            x = prepare_batch(data.images[rows], mean, std, config.data.augment, seed)
            (cross_entropy(net(x), data.labels[rows]) + cut.penalty()).backward()
            optimizer.step(cut.batch - 1)

    halves = loop.weights()
    ours = {f"0.{k.removeprefix('body.')}": v for k, v in halves["device"].items() if k.startswith("body.")}
    ours |= {f"1.{k}": v for k, v in halves["device"].items() if k.startswith("encoder.")}
    ours |= {f"1.{k}": v for k, v in halves["server"].items() if k.startswith("decoder.")}
    ours |= {f"2.{k.removeprefix('body.')}": v for k, v in halves["server"].items() if k.startswith("body.")}
    mine = net.state_dict()
    assert set(mine) == set(ours) and all(torch.equal(mine[key], value) for key, value in ours.items())
    assert cut.bytes_down == sum(record.bytes_down for record in records)
    bitmap = bitmap_size(built.cut.shape[0]) if Level(level).channels else 0
    headers = 2 * loop.steps * header_size(4, bitmap, Level(level).top is not None)
    assert cut.bytes_up == sum(record.bytes.up_activations for record in records) + headers


def test_the_gradient_has_the_channels_and_positions_of_the_activation():
    cut = CompressedCut("c3.k5.b8/b8", bottleneck=BottleneckConfig(), shape=SHAPE)
    z = torch.randn(2, *SHAPE, requires_grad=True)
    cut.encoder, cut.decoder = _Pick(cut.encoder), nn.Identity()
    y = cut(z)
    y.square().sum().backward()
    sent = (y != 0).flatten(1).sum(1)
    assert sent.tolist() == [5, 5] and set((y != 0).sum((0, 2, 3)).nonzero().flatten().tolist()) <= {0, 2, 5}
    assert not z.grad[y == 0].any() and (z.grad[y != 0] != 0).all()


class _Pick(nn.Module):
    """An encoder that leaves its input alone and chooses three channels."""

    def __init__(self, encoder):
        super().__init__()
        self.logits = encoder.logits

    def forward(self, x):
        return x

    def choose_channels(self, budget):
        return (0, 2, 5)


def test_stochastic_rounding_depends_on_seed_and_batch_alone():
    def gradients(seed, batches=2):
        cut, found = CompressedCut("all.b4/b2", seed=seed), []
        for _ in range(batches):
            x = torch.linspace(-1, 1, 48).reshape(2, 24).requires_grad_()
            (cut(x) * torch.linspace(0, 1, 48).reshape(2, 24)).sum().backward()
            found.append(x.grad)
        return found

    first, again, other = gradients(0), gradients(0), gradients(1)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])
    resumed = CompressedCut("all.b4/b2")
    resumed.batch = 1
    x = torch.linspace(-1, 1, 48).reshape(2, 24).requires_grad_()
    (resumed(x) * torch.linspace(0, 1, 48).reshape(2, 24)).sum().backward()
    assert torch.equal(x.grad, first[1])


def test_the_level_changes_while_training():
    learned = BottleneckConfig(start="random", order="learned")
    cut = CompressedCut("c2.b4/b4", bottleneck=learned, shape=SHAPE)
    x = torch.randn(3, *SHAPE)
    assert cut.encoder.logits.requires_grad and cut.penalty().requires_grad
    first = cut(x)
    tight = cut.bytes_up
    cut.level = Level("all.b8/b8")
    assert not cut.encoder.logits.requires_grad and cut.penalty() == 0
    first.sum().backward()  # at the level that the activation had
    assert cut.bytes_down == tight
    cut.reset_bytes()
    cut(x).sum().backward()
    assert cut.bytes_up == cut.bytes_down > 3 * tight and cut.batch == 2
    assert str(cut.level) == "all·b8/b8" and "level=all·b8/b8" in repr(cut)


def test_eval_mode_is_deterministic_and_counted_apart():
    cut = CompressedCut("all.k6r50.b4/b4").eval()
    x = torch.randn(3, 24)
    with torch.no_grad():
        y = cut(x)
    assert torch.equal(y, cut(x)) and not torch.equal(y, cut.train()(x))
    size = QuantizingCodec(cut.level, "up").estimate(x.shape).bytes
    assert (cut.bytes_evaluation, cut.bytes_up, cut.bytes_down, cut.batch) == (2 * size, size, 0, 1)


def test_under_autocast():
    net = nn.Sequential(nn.Linear(16, 16), CompressedCut("all.b16/b16"), nn.Linear(16, 4))
    with torch.autocast("cpu", torch.bfloat16):
        net(torch.randn(2, 16)).float().sum().backward()
    assert net[0].weight.grad.dtype == torch.float32 and net[0].weight.grad.any()
    assert net[1].bytes_up == header_size(2, 0) + 4 + 2 * 32


def test_in_a_compiled_network():
    net = nn.Sequential(nn.Linear(16, 16), CompressedCut("all.b4/b4"), nn.Linear(16, 4))
    x = torch.randn(2, 16)
    torch.compile(net, backend="eager")(x).sum().backward()
    found = net[0].weight.grad.clone()
    net.zero_grad()
    net[1].batch = 0
    net(x).sum().backward()
    assert torch.equal(net[0].weight.grad, found) and net[1].bytes_up == net[1].bytes_down > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda():
    cut = CompressedCut("c3.b4/b4", bottleneck=BottleneckConfig(), shape=SHAPE).cuda()
    x = torch.randn(2, *SHAPE, device="cuda", requires_grad=True)
    y = cut(x)
    (y.sum() + cut.penalty()).backward()
    assert y.is_cuda and x.grad.is_cuda and x.grad.any()


def test_a_copy_counts_for_itself_and_weights_are_those_of_the_bottleneck():
    cut = CompressedCut("c2.b4/b4", bottleneck=BottleneckConfig(), shape=SHAPE)
    other = copy.deepcopy(cut)
    other(torch.randn(1, *SHAPE))
    assert cut.bytes_up == 0 < other.bytes_up
    assert {key.partition(".")[0] for key in cut.state_dict()} == {"encoder", "decoder"}
    assert not CompressedCut("all.b4/b4").state_dict()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (dict(level="c4.b4"), "level of a CompressedCut: 'c4.b4' is not a level"),
        (dict(level="c4.b4/b4"), "level c4.b4/b4 keeps 4 channels, which needs a bottleneck"),
        (
            dict(level="c9.b4/b4", bottleneck=BottleneckConfig(), shape=SHAPE),
            "level c9.b4/b4 keeps 9 channels, 6 cross here",
        ),
        (dict(level="all.b4/b4", bottleneck=BottleneckConfig()), "a bottleneck needs the shape of one sample"),
        (dict(level="all.b4/b4", codec=_Pick), "codec _Pick cannot be constructed: TypeError"),
    ],
)
def test_faults(options, text):
    with pytest.raises(ConfigError, match=text):
        CompressedCut(**options)
