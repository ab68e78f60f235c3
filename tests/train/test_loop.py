"""Split training against the unsplit network, and what the loop counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from raysplit.compress.labels import pack_labels
from raysplit.config import Fixed, ModelConfig, SplitConfig
from raysplit.data import batch_order, load, mean_std, prepare_batch
from raysplit.errors import DataError, WireError
from raysplit.models import build
from raysplit.split import find_cuts
from raysplit.torch_utils.optim import lr_at, make_optimizer
from raysplit.torch_utils.seeds import mix, seeded
from raysplit.train.costs import step_bytes
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from raysplit.train.summary import summarize
from tests.split.unsplit import insert_after
from tests.train.make_golden import measure

GOLDEN = Path(__file__).parent / "golden.json"
CPU = torch.device("cpu")
UP = ("up_activations", "up_labels", "up_weights", "up_headers")
DOWN = ("down_gradients", "down_headers")
VGG = ModelConfig(name="vgg11", args={"width": 0.125})
VIT = ModelConfig(
    name="timm:vit_tiny_patch16_224",
    args={"patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3, "drop_rate": 0.1, "drop_path_rate": 0.1},
)
SHAPES = {"vgg11": (1, 8, 8), "timm:vit_tiny_patch16_224": (1, 8, 8)}
_stream = [0, 0]


def reseed(x: torch.Tensor) -> torch.Tensor:
    """Start the server half's RNG stream, in the middle of the unsplit network."""
    torch.manual_seed(_stream[0])
    return x


def reseed_tail(x: torch.Tensor) -> torch.Tensor:
    """Start the RNG stream of the layers after a second cut."""
    torch.manual_seed(_stream[1])
    return x


def cuts(model: ModelConfig) -> list[str]:
    return [cut.name for cut in find_cuts(build(model, 10, SHAPES[model.name]), SHAPES[model.name])]


def unsplit(config: SplitConfig) -> dict[str, torch.Tensor]:
    """Train the whole network in a plain loop; `in_flight` micro-batches are accumulated."""
    train, data = config.train, load(config.data, "train")
    shape = tuple(data.images.shape[1:])
    with seeded(mix(train.seed, "init"), CPU):
        model = build(config.model, 10, shape)
    second = [] if config.cut_back is None else [(config.cut_back, reseed_tail)]
    net = insert_after(model, shape, config.cut, reseed, *second).train()
    optimizer = make_optimizer(model, train, decay_logits=True)
    mean, std = mean_std(data.images)
    order = batch_order(len(data.labels), train.batch_size, mix(train.seed, "order"), 0)
    for step, batch in enumerate(order):
        for i, rows in enumerate(batch.split(train.batch_size // train.in_flight)):
            number = step * train.in_flight + i
            x = prepare_batch(data.images[rows], mean, std, config.data.augment, mix(train.seed, "augment", number))
            _stream[:] = mix(train.seed, "server", number), mix(train.seed, "tail", number)
            with seeded(mix(train.seed, "device", number), CPU):
                loss = cross_entropy(net(x), data.labels[rows], label_smoothing=train.label_smoothing) / train.in_flight
            loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = lr_at(train, step, len(order) * train.epochs)
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


def split(config: SplitConfig) -> tuple[Loop, dict[str, torch.Tensor]]:
    """Train through the loop; return it and all weights under their names in the model."""
    loop = Loop(config, LocalDevice(config))
    list(loop.epochs())
    return loop, merged(loop)


def merged(loop: Loop) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix("body."): tensor
        for half in loop.weights().values()
        for name, tensor in half.items()
        if name.startswith("body.")
    }


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different


def every_cut(model: ModelConfig) -> list[object]:
    """Return the model with each of its cuts; all but every fifth are for the slow lane."""
    return [
        pytest.param(model, cut, id=f"{model.name}-{cut}", marks=[pytest.mark.slow] if number % 5 else [])
        for number, cut in enumerate(cuts(model))
    ]


@pytest.mark.parametrize(("model", "cut"), [*every_cut(VGG), *every_cut(VIT)])
def test_split_is_unsplit_bit_for_bit_at_every_cut(plain, model, cut):
    config = plain.replaced(model=model, cut=cut)
    _, weights = split(config)
    assert_same(weights, unsplit(config))


def test_micro_batches_in_flight_are_gradient_accumulation(plain):
    config = plain.replaced(train=plain.train.replaced(in_flight=2))
    _, weights = split(config)
    assert_same(weights, unsplit(config))


@pytest.mark.parametrize(
    ("model", "cut", "changes"),
    [
        (VGG, "features.7", {"optimizer": "muon", "lr": 0.01, "label_smoothing": 0.1}),
        (VGG, "features.1", {"optimizer": "muon", "lr": 0.01, "in_flight": 2}),
        (VGG, "features.7", {"optimizer": "muon_sgd", "lr": 0.1, "momentum": 0.6, "lr_schedule": "linear"}),
        (VIT, "blocks.0", {"optimizer": "muon", "lr": 0.001}),
        (VIT, "patch_embed", {"optimizer": "adamw", "lr": 0.001, "label_smoothing": 0.3}),
    ],
    ids=["vgg", "in flight", "fixed norm", "vit", "adamw"],
)
def test_both_halves_have_the_optimizer_and_the_loss_of_the_whole(plain, model, cut, changes):
    config = plain.replaced(model=model, cut=cut, train=plain.train.replaced(**changes))
    _, weights = split(config)
    assert_same(weights, unsplit(config))


def test_micro_batches_change_the_weights_of_a_net_with_batch_norm(plain):
    _, one = split(plain)
    _, two = split(plain.replaced(train=plain.train.replaced(in_flight=2)))
    assert any(not torch.equal(one[name], two[name]) for name in one)


def test_counted_bytes_are_what_the_plan_promises(squeezed):
    exact = squeezed.replaced(schedule=Fixed(level="c3.b4/b2"))
    loop, _ = split(exact)
    step = step_bytes(exact, exact.schedule.level, (16, 2, 2), 1, 10)
    assert step.exact
    assert loop.records[0].bytes_up == 3 * step.up
    assert loop.records[0].bytes_down == 3 * step.down


def test_traffic_by_kind_and_the_summary_add_up(squeezed):
    loop, _ = split(squeezed)
    summary = summarize(loop, "somewhere")
    assert summary.bytes_up == sum(getattr(row.bytes, kind) for row in loop.records for kind in UP)
    assert summary.bytes_down == sum(getattr(row.bytes, kind) for row in loop.records for kind in DOWN)
    sent = {kind for kind in (*UP, *DOWN) if all(getattr(row.bytes, kind) > 0 for row in loop.records)}
    assert sent == {*UP, *DOWN} - {"up_weights"}, "no head is handed over in a joint run"
    assert summary.bytes_raw_upload == 96 * 64
    # Plain fp32: 3 steps of 2 × 32 images × 16 channels × 2 × 2 values, and small change for headers.
    assert summary.bytes_fp32 == pytest.approx(2 * 3 * 2 * 32 * 64 * 4, rel=0.02)
    assert summary.times_less == summary.bytes_fp32 / (summary.bytes_up + summary.bytes_down)
    # `split` has brought the device half's weights up; nothing was trained since, so that serves as state too.
    state = loop.state()
    assert summary.bytes_checkpoint == loop.checkpoint_bytes == len(state["device"]) > 1000
    loop.restore(state)
    assert loop.checkpoint_bytes == 2 * len(state["device"])


def test_levels_and_reasons_are_in_the_record(squeezed):
    loop, _ = split(squeezed)
    assert [row.level for row in loop.records] == ["c2·b4/b4·zstd", "all·b8/b8"]
    assert [row.reason for row in loop.records] == ["phase 1 of 2", "phase 2 of 2"]
    assert loop.records[1].bytes.up_activations > 5 * loop.records[0].bytes.up_activations


def test_seconds_add_up_in_lock_step(squeezed):
    row = split(squeezed)[0].records[0]
    assert row.device_s > 0 and row.server_s > 0
    assert row.device_s + row.server_s + row.link_s == pytest.approx(row.seconds, rel=0.01)


def test_the_watch_sees_every_step(plain):
    seen = []
    list(Loop(plain, LocalDevice(plain), lambda *about: seen.append(about[:3])).epochs())
    assert seen == [(0, 1, 3), (0, 2, 3), (0, 3, 3)]


def test_too_few_rows_for_a_batch(plain):
    config = plain.replaced(data=plain.data.replaced(train_rows=31))
    with pytest.raises(DataError, match="31 training rows do not fill a batch of 32; lower train.batch_size"):
        Loop(config, LocalDevice(config))


def test_a_gradient_for_an_unknown_batch_is_refused(plain):
    device = LocalDevice(plain)
    loop = Loop(plain, device)
    down = []
    learn = loop._server.train_step

    def keep(*given):
        answers = learn(*given)
        down.append(answers[0][0].to_bytes())
        return answers

    loop._server.train_step = keep
    list(loop.epochs())
    with pytest.raises(WireError, match="micro-batch 0, which is not under way"):
        device.backward(down[0])


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda up, labels: (replace(up, batch=7), labels), "expected ACTIVATION of batch 0, got batch 7"),
        (lambda up, labels: (up, replace(labels, batch=1)), "expected LABELS of batch 0, got batch 1"),
        (lambda up, labels: (labels, up), "expected a message of kind ACTIVATION, got LABELS"),
        (lambda up, labels: (up, pack_labels(torch.zeros(31, dtype=torch.int64), 0, 10)), r"expected LABELS of shape"),
        (lambda up, labels: (up, pack_labels(torch.full((32,), 10), 0, 11)), "labels of batch 0 are outside 0 to 9"),
    ],
)
def test_an_answer_that_is_not_to_the_question(plain, spoil, text):
    device = LocalDevice(plain)
    loop = Loop(plain, device)
    learn = loop._server.train_step

    def spoiled(number, micros):
        (micro,) = micros
        up, labels = spoil(micro.activation, micro.labels)
        return learn(number, [replace(micro, activation=up, labels=labels)])

    loop._server.train_step = spoiled
    with pytest.raises(WireError, match=text):
        list(loop.epochs())


def test_golden_losses_and_bytes():
    """A change that should not change numbers must leave these alone (CONTRIBUTING.md, proof of value)."""
    golden, now = json.loads(GOLDEN.read_text()), measure()
    assert now["losses"] == pytest.approx(golden["losses"], rel=1e-3)
    assert now["fixed_bytes"] == golden["fixed_bytes"]
    # zstd finds a little more or less when a rounding differs on another processor.
    assert now["packed_bytes"] == pytest.approx(golden["packed_bytes"], rel=0.02)
