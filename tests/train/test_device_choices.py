"""What the devices of a run can have of their own: rounds, optimizers, statistics, data, levels."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from raysplit.config import BottleneckConfig, ByteBudget, Fixed, LinkAware, SplitConfig
from raysplit.data import load, load_shard
from raysplit.errors import ConfigError, DataError
from raysplit.folders.reader import read_run
from raysplit.report import device_table
from raysplit.schedules import Decision
from raysplit.torch_utils.checkpoint import unpack_state
from raysplit.train.local import train_local
from raysplit.train.local_device import LocalDevice, make_local_devices
from raysplit.train.loop import Loop
from tests.train.freezing import freezing_config
from tests.train.many import many_config
from tests.train.recipes import plain_config
from tests.train.test_devices import MODES, assert_same, plainly, train


def halves(loop: Loop) -> list[dict[str, torch.Tensor]]:
    return [plainly(unpack_state(member.device.state().result())["half"]) for member in loop._fleet.members]


def test_all_rows_of_all_splits_are_on_one_device_each():
    config = many_config("merged")
    for split in ("train", "val", "test"):
        whole = load(config.data, split)
        parts = [load_shard(config.data, config.devices, index, 16, split) for index in range(3)]
        pixels = torch.cat([part.images for part in parts]).flatten(1).double() @ torch.randn(64, dtype=torch.float64)
        assert len(pixels) == len(whole.labels)
    loop = Loop(config, make_local_devices(config))
    assert (loop.facts.train_rows, loop.facts.val_rows) == (160, len(load(config.data, "val").labels))


@pytest.mark.parametrize(("settings", "steps"), [(["local_epochs=2"], (6, 6)), (["round_steps=4"], (4, 4))])
def test_how_long_a_round_is(settings, steps):
    config = many_config("splitfed_v2", count=2, shards="iid", epochs=2)
    config = config.with_settings([*(f"devices.{one}" for one in settings), "data.train_rows=100"])
    loop = train(config)
    assert tuple(record.epoch.steps for record in loop.device_records[:2]) == steps
    assert [record.samples for record in loop.device_records[:2]] == [16 * count for count in steps]


def test_two_rounds_of_so_many_steps_are_one_round_of_passes_that_is_averaged_half_way():
    """The batches are those of whole passes: where nothing is averaged (one device), rounds of any length are equal."""
    one = many_config("splitfed_v2", count=1, epochs=2).with_settings(["train.lr_schedule=constant"])
    known, short = train(one), train(one.with_settings(["devices.round_steps=5", "train.epochs=4"]))
    assert_same(halves(known)[0], halves(short)[0])


def test_some_devices_take_part_in_each_round():
    config = many_config("merged", count=4, epochs=6, per_round=2, shards="iid")
    loop = train(config)
    took = [{record.device for record in loop.device_records if record.epoch.epoch == epoch} for epoch in range(6)]
    assert all(len(devices) == 2 for devices in took) and len(set(map(frozenset, took))) > 1
    assert train(config).device_records[0].device == loop.device_records[0].device, "drawn by the seed"
    same = halves(loop)
    for half in same[1:]:
        assert_same(same[0], half)


def test_statistics_that_stay_on_each_device():
    kept = halves(train(many_config("splitfed_v2", batch_norm="local")))
    statistics = {name for name in kept[0] if "running" in name}
    different = {name for name in kept[0] if not torch.equal(kept[0][name], kept[1][name])}
    assert statistics and different == statistics


@pytest.mark.parametrize("mode", ["relay", "splitfed_v1", "merged"])
def test_what_becomes_of_momentum(mode):
    kept, reset, shared = (train(many_config(mode, optimizer=one)) for one in ("kept", "reset", "shared"))
    weights = [halves(loop)[0]["0.weight"] for loop in (kept, reset, shared)]
    assert not any(torch.equal(weights[one], weights[other]) for one, other in ((0, 1), (0, 2), (1, 2)))
    sent = [loop.device_records[0].epoch.bytes.up_weights for loop in (kept, reset, shared)]
    trained, buffers = 4 * (4 * 9 + 4 + 4 + 4), 4 * 8
    assert sent == [trained + buffers, trained + buffers, 2 * trained + buffers]


def test_every_device_counts_alike_if_asked():
    one, other = (halves(train(many_config("merged", weighting=weighting)))[0] for weighting in ("samples", "equal"))
    assert not torch.equal(one["0.weight"], other["0.weight"])


@pytest.mark.parametrize("mode", ["relay", "splitfed_v2", "merged"])
def test_the_server_trains_on_the_pool_of_all_devices_codes(mode):
    config = freezing_config(4).with_settings(
        [f"devices.mode={mode}", "devices.count=3", "train.batch_size=16", "data.train_rows=160"]
    )
    loop = Loop(config, make_local_devices(config))
    rows = list(loop.epochs())
    assert [row.mode for row in rows] == ["alone", "frozen", "frozen", "cached"]
    views = loop._server.cache.state()["views"]
    steps = sum(member.steps for member in loop._fleet.members)
    assert [len(view) for view in views] == [steps, steps]
    assert rows[0].bytes.up_weights > 0 and rows[0].bytes.up_activations == 0, "halves and heads are averaged"
    assert rows[1].bytes.down_weights == 0 or mode == "relay"
    assert rows[3].traffic == rows[3].bytes.evaluation == 0 and rows[3].val_loss > 0
    same = halves(loop)
    assert_same(same[0], same[1])


def test_a_stopped_run_of_many_devices_ends_with_the_same_weights(tmp_path):
    for mode in MODES:
        config = many_config(mode, epochs=3, per_round=2)

        def stop(epoch, step, steps, loss):
            if (epoch, step) == (2, 2):
                raise KeyboardInterrupt

        whole = train_local(config, str(tmp_path / mode / "whole"))
        with pytest.raises(KeyboardInterrupt):
            train_local(config, str(tmp_path / mode / "stopped"), on_step=stop)
        again = train_local(config, str(tmp_path / mode / "stopped"))
        assert (again.accuracy, again.bytes_up, again.bytes_down) == (whole.accuracy, whole.bytes_up, whole.bytes_down)
        runs = [read_run(str(tmp_path / mode / name)) for name in ("whole", "stopped")]
        assert [row.epoch.bytes for row in runs[0].devices] == [row.epoch.bytes for row in runs[1].devices]
        table = device_table(runs[0]).splitlines()
        assert len(table) == 2 + len({row.device for row in runs[0].devices})


def leveled(schedule: object) -> SplitConfig:
    return many_config("splitfed_v2", epochs=4).replaced(bottleneck=BottleneckConfig(), schedule=schedule)


def test_each_device_keeps_to_its_own_budget():
    ladder = ("c1.b4/b4", "c4.b8/b8", "c4.b32/b32")
    loop = train(leveled(ByteBudget(ladder=ladder, megabytes=0.12)))
    spent = [
        sum(record.epoch.traffic for record in loop.device_records if record.device == device) for device in range(3)
    ]
    assert all(0.06e6 < total <= 0.12e6 for total in spent)
    levels = {record.epoch.level for record in loop.device_records if record.epoch.epoch == 0}
    assert len(levels) > 1, "a device with a small shard affords a looser level"
    assert all(" on " in row.reason for row in loop.records)


def test_each_device_has_a_budget_of_its_own():
    ladder = ("c1.b4/b4", "c4.b8/b8", "c4.b32/b32")
    budgets = (0.02, 0.06, 0.5)
    loop = train(leveled(ByteBudget(ladder=ladder, megabytes=budgets)))
    for device, budget in enumerate(budgets):
        rows = [record.epoch for record in loop.device_records if record.device == device]
        assert sum(row.traffic for row in rows) <= budget * 1e6
        assert rows[0].reason == f"{budget:g} MB left for 4 epochs"


def test_each_device_has_the_level_of_its_own_link():
    """Device 2's messages take long: it stays at the tightest level."""

    class Slow(LocalDevice):
        def forward(self):
            return Waiting(super().forward())

        def exchange(self, gradient):
            return Waiting(super().exchange(gradient))

    config = leveled(LinkAware(ladder=("c1.b4/b4", "c4.b8/b8"), step_s=0.25)).with_settings(["train.epochs=3"])
    devices = [Slow(config, index) if index == 2 else LocalDevice(config, index) for index in range(3)]
    loop = Loop(config, devices)
    list(loop.epochs())
    levels = {(record.epoch.epoch, record.device): record.epoch.level for record in loop.device_records}
    assert [levels[0, device] for device in range(3)] == ["c1·b4/b4"] * 3
    assert [levels[2, device] for device in range(3)] == ["c4·b8/b8", "c4·b8/b8", "c1·b4/b4"]
    assert loop.records[2].level == "c4·b8/b8" and loop.records[2].reason == "c4·b8/b8 on 2, c1·b4/b4 on 1"


class Waiting:
    """A call whose answer takes long on the link."""

    def __init__(self, call):
        self._call = call

    def result(self, timeout_s=None):
        time.sleep(0.4)
        return self._call.result()


def make_folder(path, classes, size=8):
    random = np.random.default_rng(len(classes))
    for split, count in (("train", 24), ("test", 6)):
        for name in classes:
            (path / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 256, (size, size), dtype=np.uint8)
                Image.fromarray(pixels).save(path / split / name / f"{index}.png")
    return f"folder:{path}"


def with_data(names: list[str]) -> SplitConfig:
    config = many_config("merged", count=2, shards="iid", data=names)
    return config.replaced(
        data=config.data.replaced(name=names[0], train_rows=None), model=plain_config().model, cut=plain_config().cut
    )


def test_devices_with_data_of_their_own(tmp_path):
    names = [make_folder(tmp_path / "a", ["cat", "dog"]), make_folder(tmp_path / "b", ["cat", "dog"])]
    config = with_data(names)
    loop = train(config)
    assert loop.facts.classes == ("cat", "dog") and loop.facts.train_rows == 2 * 43
    known = [load(config.data.replaced(name=name), "train").images.double() / 255 for name in names]
    assert loop.facts.mean[0] == pytest.approx(float(torch.cat(known).mean()))
    assert loop.facts.std[0] == pytest.approx(float(torch.cat(known).std(unbiased=False)))


@pytest.mark.parametrize(
    ("classes", "size", "text"),
    [
        (
            ["cat", "fox"],
            8,
            r"device 1 \(folder:.*/b\) has the class 'fox', which device 0 \(folder:.*/a\) does not have",
        ),
        (["cat"], 8, r"device 1 \(folder:.*/b\) does not have the class 'dog', which device 0"),
        (["cat", "dog"], 16, r"device 1 \(folder:.*/b\) has images of 1×16×16 .* device 0 .* of 1×8×8; set data.size"),
    ],
)
def test_data_that_do_not_fit_those_of_the_first_device(tmp_path, classes, size, text):
    names = [make_folder(tmp_path / "a", ["cat", "dog"]), make_folder(tmp_path / "b", classes, size)]
    config = with_data(names)
    with pytest.raises(DataError, match=text):
        Loop(config, make_local_devices(config))


def test_devices_that_do_not_have_all_classes_agree_on_names(tmp_path):
    names = [make_folder(tmp_path / "a", ["dog", "cat"]), make_folder(tmp_path / "b", ["fox"])]
    config = with_data(names).with_settings(["devices.classes=[fox, cat, dog]"])
    loop = train(config)
    assert loop.facts.classes == ("fox", "cat", "dog")
    own = [load_shard(config.data, config.devices, index, 16, "train").labels.unique().tolist() for index in (0, 1)]
    assert own == [[1, 2], [0]]
    with pytest.raises(
        DataError, match=r"device 1 \(folder:.*/b\) has the class 'fox', which is not one of devices.cl"
    ):
        make_local_devices(config.with_settings(["devices.classes=[cat, dog]"]))


def test_rows_are_dealt_by_a_column(tmp_path):
    rows = 240
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        pixels = random.integers(0, 256, (rows, 8, 8), dtype=np.uint8)
        images = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)
        site = [("north", "south", "east")[index % 3] for index in range(rows)]
        table = pa.table({"image": images, "label": [index % 10 for index in range(rows)], "site": site})
        pq.write_table(table, tmp_path / f"{split}.parquet")
    config = many_config("merged", count=3, shards="iid")
    data = config.data.replaced(name=f"parquet:{tmp_path}", train_rows=None)
    config = config.replaced(data=data, devices=config.devices.replaced(shards="column(site)"))
    parts = [load_shard(data, config.devices, index, 16, "test") for index in range(3)]
    assert [len(part.labels) for part in parts] == [80, 80, 80]
    whole = load(data, "test").images
    own = {bytes(image.numpy()): index % 3 for index, image in enumerate(whole)}
    assert [len({own[bytes(image.numpy())] for image in part.images}) for part in parts] == [1, 1, 1]
    with pytest.raises(DataError, match=r"train.parquet: there is no column 'place' \(devices.shards\)"):
        load_shard(data, config.devices.replaced(shards="column(place)"), 0, 16, "train")
    with pytest.raises(DataError, match="column.site.: the training rows have 3 values for 4 devices"):
        load_shard(data, config.devices.replaced(count=4), 0, 16, "train")


def test_more_devices_than_batches():
    config = many_config("merged", count=11, shards="iid")
    with pytest.raises(DataError, match="dealt to 11 devices leave device 6 with 14, fewer than a batch of 16"):
        make_local_devices(config)


def test_a_schedule_that_splitfed_v1_cannot_follow():
    class Freeze:
        def levels(self):
            return Fixed().levels()

        def decide(self, context, history):
            return Decision(self.levels()[0], "frozen", mode="frozen")

    config = many_config("splitfed_v1").replaced(schedule=Freeze())
    loop = Loop(config, make_local_devices(config))
    with pytest.raises(
        ConfigError, match="the mode 'frozen', which needs one server half, and splitfed_v1 has one for"
    ):
        next(loop.epochs())
