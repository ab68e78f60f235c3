"""Labels on the device: a second cut, after which the network and its loss are on the device again."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch

from raysplit.compress.labels import pack_labels
from raysplit.config import (
    BottleneckConfig,
    ByteBudget,
    Fixed,
    FreezeAndCache,
    Level,
    LocalLoss,
    Nested,
    SplitConfig,
    parse,
)
from raysplit.errors import ConfigError, CutError, WireError
from raysplit.family import load_family, load_run
from raysplit.family.export import export
from raysplit.folders.run_dir import RunDir
from raysplit.planner.run_plan import make_run_plan
from raysplit.report.page import write_report
from raysplit.schedules import Decision
from raysplit.torch_utils.checkpoint import unpack_state
from raysplit.train.costs import step_bytes
from raysplit.train.local import train_local
from raysplit.train.local_device import LocalDevice, make_local_devices
from raysplit.train.loop import Loop
from raysplit.train.tail import level_back
from raysplit.wire.message import Kind
from raysplit.wire.message import parse as parse_message
from tests.train.many import many_config, train_plainly
from tests.train.recipes import plain_config, squeezed_config
from tests.train.test_devices import assert_same, plainly
from tests.train.test_loop import VGG, VIT, split, unsplit

MODES = ("relay", "splitfed_v1", "splitfed_v2", "merged")


def u_config(mode: str, count: int = 3, **devices: object) -> SplitConfig:
    """Batch norm on the server and, with dropout, in the tail."""
    config = many_config(mode, count, **devices)
    return config.replaced(cut="0", cut_back="4", train=config.train.replaced(label_smoothing=0.1))


def train(config: SplitConfig) -> Loop:
    loop = Loop(config, make_local_devices(config))
    list(loop.epochs())
    return loop


def own_weights(loop: Loop, index: int) -> dict[str, torch.Tensor]:
    state = unpack_state(loop._fleet.members[index].device.state().result())
    return plainly(state["half"]) | plainly(state["tail"])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_its_published_algorithm_bit_for_bit(mode, count):
    config = u_config(mode, count)
    loop = train(config)
    server, devices = train_plainly(config)
    assert_same(plainly(loop.weights()["server"]), plainly(server))
    for index, known in enumerate(devices):
        assert_same(own_weights(loop, index), plainly(known))


@pytest.mark.parametrize(
    ("model", "cut", "cut_back", "changes"),
    [
        (VGG, "features.3", "features.14", {"in_flight": 2, "label_smoothing": 0.1}),
        (VGG, "features.7", "features.27", {"optimizer": "muon", "lr": 0.01}),
        (VIT, "patch_embed", "blocks.0", {"optimizer": "adamw", "lr": 0.001, "in_flight": 4}),
    ],
    ids=["micro-batches", "muon", "vit"],
)
def test_three_parts_are_the_unsplit_network_bit_for_bit(plain, model, cut, cut_back, changes):
    config = plain.replaced(model=model, cut=cut, cut_back=cut_back, train=plain.train.replaced(**changes))
    _, weights = split(config)
    assert_same(weights, unsplit(config))


class Tap:
    """A local device of which every byte that goes in or comes out is kept."""

    def __init__(self, config: SplitConfig, index: int):
        self._local, self.seen = LocalDevice(config, index), list[bytes]()

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any) -> Any:
            answer = getattr(self._local, method)(*args)
            for value in (*args, answer.result() if hasattr(answer, "result") else None):
                self.seen += [] if method in ("state", "restore") else list(find_bytes(value))
            return answer

        return call


def find_bytes(value: Any) -> list[bytes]:
    if isinstance(value, bytes):
        return [value]
    parts = [getattr(value, field.name) for field in fields(value)] if is_dataclass(value) else []
    return [data for part in parts for data in find_bytes(part)]


@pytest.mark.parametrize("mode", MODES)
def test_no_label_crosses_in_any_message(mode):
    config = u_config(mode, count=2)
    taps = [Tap(config, index) for index in range(2)]
    loop = Loop(config, taps)
    list(loop.epochs())
    for tap in taps:
        messages = [parse_message(data) for data in tap.seen if data]
        assert {message.kind for message in messages} == {Kind.ACTIVATION, Kind.GRADIENT, Kind.WEIGHTS}
        bodies = b"".join(bytes(message.body) for message in messages)
        side = tap._local._side
        for split_name, data in side._data.sets.items():
            batches = [data.labels[rows : rows + 16] for rows in range(0, len(data.labels), 16)]
            batches += [data.labels[rows] for rows in side._data._micros] if split_name == "train" else []
            for labels in (batch for batch in batches if len(batch) > 4):
                forms = [labels.to(dtype).numpy().tobytes() for dtype in (torch.uint8, torch.int32, torch.int64)]
                forms += [bytes(pack_labels(labels, 0, 10).body), labels.float().numpy().tobytes()]
                assert not [form for form in forms if form in bodies]
    assert all(row.bytes.up_labels == 0 for row in loop.records)
    # The same search finds them where they do cross.
    known = Tap(plain := config.replaced(cut_back=None, devices=config.devices.replaced(count=1)), 0)
    list(Loop(plain, known).epochs())
    labels = known._local._side._data.sets["train"].labels[known._local._side._data._micros[0]]
    assert bytes(pack_labels(labels, 0, 10).body) in b"".join(known.seen)


def test_what_crosses_is_counted_by_kind_as_planned():
    loop = train(config := u_config("merged", count=1))
    row, steps = loop.records[0].bytes, loop.steps
    code, features = 16 * 4 * 8 * 8, 16 * 6 * 4 * 4
    assert (row.up_activations, row.down_gradients) == (4 * steps * code, 4 * steps * code)
    assert (row.up_gradients, row.down_activations) == (4 * steps * features, 4 * steps * features)
    assert row.up_labels == 0 and row.evaluation > 4 * 144 * (4 * 64 + 6 * 16)
    step = step_bytes(config, Level(), loop.code_shape, loop.cut.channel_dim, 10, loop.back)
    assert (row.up, row.down) == (steps * step.up, steps * step.down)
    plan = make_run_plan(config)
    assert plan.max_traffic([Decision(Level(), "")] * 2) == sum(record.traffic for record in loop.records)
    assert "6×4×4 comes back at 4, labels stay" in str(plan)
    assert sum(p.numel() for part in plan._own for p in part.parameters()) == 4 * 9 + 4 + 12 + 970


@pytest.mark.parametrize("level", ["c2.b4/b4.zstd", "all.k9.b8/b2", "c1.b8/b4.ch.ef", "all.b1/b16"])
def test_bits_ranges_and_entropy_stage_hold_at_both_cuts(level):
    config = squeezed_config().replaced(cut="features.3", cut_back="features.7", schedule=Fixed(level=level))
    loop = train(config)
    step = step_bytes(config, Level(level), loop.code_shape, 1, 10, loop.back)
    for row in loop.records:
        assert 0 < row.bytes_up <= 3 * step.up and 0 < row.bytes_down <= 3 * step.down
    back = level_back(Level(level))
    assert (back.channels, back.top, back.feedback) == (None, None, False)
    assert (back.up_bits, back.down_bits) == (Level(level).up_bits, Level(level).down_bits)
    features = 3 * 32 * 16 * 2 * 2  # values of an epoch at the second cut
    assert loop.records[0].bytes.up_gradients <= features * back.down_bits / 8 + 3 * 16 * 8


@pytest.mark.parametrize("mode", ["merged", "splitfed_v1"])
def test_a_run_goes_on_from_its_checkpoint(mode):
    config = u_config(mode, count=2)
    known, loop = train(config), Loop(config, make_local_devices(config))
    next(epochs := loop.epochs())
    state = loop.state()
    epochs.close()
    other = Loop(config, make_local_devices(config), resumed=True)
    other.restore(state)
    list(other.epochs())
    assert other.test == known.test
    for side in ("device", "server", "tail"):
        assert_same(plainly(other.weights()[side]), plainly(known.weights()[side]))


def test_a_finished_run_is_a_network_of_two_halves(tmp_path):
    """It answers as its devices did; what follows the second cut belongs to the server half."""
    config = plain_config().replaced(cut="features.3", cut_back="features.14")
    summary = train_local(config, str(tmp_path / "run"))
    folder = RunDir.at(summary.run_dir)
    network = load_run(summary.run_dir)
    test = LocalDevice(config)._side._data.sets["test"]
    answers = torch.cat([network(test.images[i : i + 32]).argmax(1) for i in range(0, len(test.labels), 32)])
    assert float((answers == test.labels).double().mean()) == summary.accuracy
    family = load_family(summary.run_dir)
    level = family.levels[0].level
    parts = [family.device(level), family.server(level)]
    names = {name for part in parts for name in part.state_dict()}
    files = [folder.read_weights(f"{side}.safetensors") for side in ("device", "server", "tail")]
    assert names == {name for file in files for name in file}
    info = export(summary.run_dir, "whole", str(tmp_path / "whole.safetensors"))
    assert info.output.shape == ("N", 10)
    write_report([summary.run_dir], str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert "gradients<br>up" in page or "gradients\nup" in page
    assert "features.3 and features.14, labels on the device" in page


REFUSED = {
    "the same": ({"cut_back": "0"}, "cut_back is '0', which is cut too"),
    "fedavg": ({"devices": {"mode": "fedavg"}}, "fedavg has no cut"),
    "local loss": ({"train": {"local_loss": LocalLoss(width=8)}}, "trains the server on its own"),
    "frozen": ({"train": {"device_half": "frozen"}}, "train.device_half=frozen leaves the tail"),
    "freeze and cache": (
        {"schedule": FreezeAndCache(learn={"level": "all.b4/b4", "share": 1}, send={"level": "all.b4/b4", "share": 1})},
        "set schedule.kind to fixed",
    ),
    "nested": (
        {"schedule": Nested(phases=[{"levels": ["all.b4/b4", "all.b8/b8"], "share": 1}])},
        "nested keeps the batch-norm statistics",
    ),
}


@pytest.mark.parametrize(("changes", "text"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_follow_is_refused_with_a_remedy(changes, text):
    tree = u_config("splitfed_v2").replaced(model={"name": "vgg11"}).model_dump(mode="json")
    for key, value in changes.items():
        value = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        tree[key] = tree.get(key, {}) | value if isinstance(value, dict) and key != "schedule" else value
    with pytest.raises(ConfigError) as caught:
        parse(SplitConfig, tree, "the recipe")
    assert text in str(caught.value) and "leave cut_back out" in str(caught.value)


@pytest.mark.parametrize(
    ("cut", "cut_back", "text"),
    [
        ("4", "0", "it comes before it; set cut_back to one of 5, 6, 7"),
        ("5", "8", "has no parameter between itself and it"),
        ("5", "7", "none may follow it, set cut to an earlier one"),
        ("0", "elsewhere", "cut 'elsewhere' is not a cut"),
        ("0", "9", "it is the output"),
    ],
)
def test_a_second_cut_that_does_not_separate_is_refused_before_training(cut, cut_back, text):
    config = u_config("splitfed_v2", count=1).replaced(cut=cut, cut_back=cut_back)
    with pytest.raises(CutError, match="^cut") as caught:
        Loop(config, LocalDevice(config))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


class Wandering:
    """A schedule that wants an epoch which a run with a second cut cannot have."""

    def levels(self):
        return (Level(),)

    def decide(self, context, history):
        return Decision(Level(), "why not", mode="frozen")


class Plain:
    """A kind of device that has no tail."""

    def __init__(self, config):
        side = LocalDevice(config)
        self.describe, self.close = side.describe, side.close


def test_schedules_and_devices_without_it_are_refused():
    config = u_config("splitfed_v2", count=1)
    with pytest.raises(ConfigError, match="the schedule chose the mode 'frozen', and with cut_back"):
        train(config.replaced(schedule=Wandering()))
    with pytest.raises(ConfigError, match="device 0 is a Plain, which cannot hold a tail; leave cut_back out"):
        Loop(config, Plain(config))


def test_features_and_gradients_of_no_micro_batch_are_refused():
    config = u_config("merged", count=1)
    device = LocalDevice(config)
    loop = Loop(config, device)
    decision = Decision(Level(), "")
    device.begin_epoch(0, decision)
    loop._server.begin_epoch(decision)
    message = device._side._codecs.at(Level(), "up").compress(torch.zeros(16, 6, 4, 4), 7)
    with pytest.raises(WireError, match="features of micro-batch 7, which is not under way"):
        device.answer(message.to_bytes())
    with pytest.raises(WireError, match="gradient for micro-batch 7, which is not under way"):
        loop._server.backward(7, [message])
    device.forward()
    wrong = device._side._codecs.at(Level(), "up").compress(torch.zeros(16, 5, 4, 4), 0)
    with pytest.raises(WireError, match="shape"):
        device.answer(wrong.to_bytes())


def test_a_level_for_each_device_counts_both_cuts():
    budget = ByteBudget(megabytes=(0.5, 5.0), ladder=["all.b4/b4", "all.b8/b8", "all.b32/b32"])
    config = u_config("merged", count=2).replaced(schedule=budget, bottleneck=BottleneckConfig())
    loop = train(config)
    for device, megabytes in enumerate((0.5, 5.0)):
        rows = [row.epoch for row in loop.device_records if row.device == device]
        assert sum(row.traffic for row in rows) <= megabytes * 1e6
    assert len({row.epoch.level for row in loop.device_records}) > 1
    assert np.isfinite(loop.test.loss)
