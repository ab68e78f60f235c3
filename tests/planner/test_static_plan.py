"""The static plan against real runs, the link's model, and machines that are too small."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from raysplit.config import DataConfig, Deprune, Fixed, Level, ModelConfig, Phase, SplitConfig, TrainConfig
from raysplit.errors import ConfigError, CutError
from raysplit.folders.run_dir import RunDir
from raysplit.hardware.link import NAMED, Link
from raysplit.hardware.machine import Machine, get_machine
from raysplit.hardware.platform import Platform
from raysplit.planner.static_plan import LEVELS, ON_DEVICE, ON_SERVER, final_level, make_static_plan, plan_cut
from raysplit.train.local import train_local

MODEL = ModelConfig(name="vgg5", args={"width": 0.25})
DATA = DataConfig(name="digits", train_rows=100)
ALL = [Level(text) for text in LEVELS]


def make_plan(levels=ALL, batch=50, rate=None, **hardware):
    parts = {"link": NAMED["wifi"], "device": get_machine("pi4"), "server": get_machine("server")} | hardware
    return make_static_plan(MODEL, DATA, Platform(**parts), levels, batch, rate)


def plan_that_recommends(what):
    """Return a plan that recommends a "cut", or the "whole" network on one side."""
    plan = make_plan()
    if what == "cut":
        return replace(plan, budget_s=1.0)
    return replace(plan, rows=tuple(replace(row, fault="too slow") if row.level else row for row in plan.rows))


def make_config(cut, level="all.b4/b4", **changes):
    given = {"name": "small", "data": DATA, "model": MODEL, "cut": cut, "bottleneck": None}
    given |= {"schedule": Fixed(level=Level(level)), "train": TrainConfig(epochs=1, batch_size=20, device="cpu")}
    return SplitConfig(**(given | changes))


@pytest.mark.parametrize("text", ["all·b32/b32", "all·b8/b4", "all·k20·b4/b2", "all·b2/b2·ch"])
def test_bytes_are_those_that_a_run_sends(text, tmp_path):
    rows = [row for row in make_plan([Level(text)], batch=20).rows if row.level]
    for row in rows[1::4]:
        folder = str(tmp_path / row.cut)
        train_local(make_config(row.cut, text), folder)
        [record] = RunDir.at(folder).records()
        images = 20 * record.steps
        assert row.exact
        assert (row.train_bytes_up, row.train_bytes_down) == (record.bytes_up / images, record.bytes_down / images)


def test_seconds_are_operations_over_rates_and_bytes_over_the_link():
    link = Link(name="slow", up_bit_s=1e6, down_bit_s=2e6, round_trip_s=0.5, message_bytes=100)
    device = Machine(name="d", gflops_per_s=0.5, memory_mib=100, source="test")
    plan = make_plan(link=link, device=device)
    alone, away, *cuts = plan.rows
    assert (alone.cut, away.cut) == (ON_DEVICE, ON_SERVER)
    assert alone.link_s == 0 == alone.server_s and away.device_s == 0
    assert away.bytes_up == 64
    assert away.link_s == pytest.approx(0.5 + 8 * (64 + 100) / 1e6 + 8 * (64 + 100) / 2e6)
    for row in cuts:
        assert row.link_s == pytest.approx(0.5 + 8 * (row.bytes_up + 100) / 1e6 + 8 * 164 / 2e6)
        rest = (alone.device_s - row.device_s) * 0.5 / 2000
        assert row.server_s == pytest.approx(rest, abs=1e-12)
        assert row.total_s == row.device_s + row.link_s + row.server_s
    assert plan.fastest() == min(plan.rows, key=lambda row: row.total_s)


def test_what_the_device_cannot_hold_is_marked():
    small = Machine(name="tiny", gflops_per_s=1, memory_mib=0.05, source="test")
    rows = make_plan(device=small).rows
    too_large = [row for row in rows if row.fault]
    assert too_large and all(row.device_mib > 0.05 for row in too_large)
    assert all("tiny has 0.1" in row.fault for row in too_large)
    assert {row.cut for row in rows if not row.fault} >= {ON_SERVER}
    assert make_plan(device=small).fastest().fault is None


def test_what_cannot_keep_up_is_marked_with_the_part():
    link = Link(name="slow", up_bit_s=1e5, down_bit_s=1e5, round_trip_s=0.0, message_bytes=0)
    slow = Machine(name="d", gflops_per_s=0.001, memory_mib=100, source="test")
    rows = make_plan(link=link, device=slow, rate=100.0).rows
    assert rows[0].fault.startswith("the device takes") and "100 images/s allow 10.0" in rows[0].fault
    assert any(row.fault and row.fault.startswith("the link takes") for row in rows)
    assert rows[1].fault is None


def test_levels_wider_than_a_cut_are_left_out():
    rows = make_plan([Level("c24·b4/b4")]).rows[2:]
    assert rows and len(rows) < len(make_plan([Level("all·b4/b4")]).rows[2:])


def test_a_plan_is_json_data():
    plan = make_plan(rate=30.0)
    data = json.loads(json.dumps(plan.to_json()))
    assert len(data["rows"]) == len(plan.rows) and data["device"]["name"] == "pi4"
    assert list(data) == ["model", "data", "shape", "link", "device", "server", "rate", "budget_s", "rows"]


def test_the_row_of_a_run_is_that_of_the_plan():
    row = next(row for row in make_plan([Level("all.b4/b4")], batch=20).rows if row.level)
    platform = Platform(NAMED["wifi"], get_machine("pi4"), get_machine("server"))
    plan = plan_cut(make_config(row.cut), platform)
    assert plan.row == row and plan.profile.name == row.cut
    with pytest.raises(CutError, match="vgg5 has no cut 'features.99'. Nearest: features"):
        plan_cut(make_config("features.99"), platform)
    with pytest.raises(ConfigError, match="level c99·b4/b4 keeps 99 channels, 16 cross at cut 'features.0'"):
        plan_cut(make_config("features.0", "c99.b4/b4", bottleneck={}), platform)


def test_the_final_level_is_the_one_that_a_run_ends_with():
    tight, loose = Level("all.b2/b2"), Level("all.b4/b4")
    there_and_back = Deprune(phases=tuple(Phase(level=level, share=1) for level in (tight, loose, tight)))
    config = make_config("features.0", schedule=there_and_back, train=TrainConfig(epochs=3))
    assert final_level(config) == tight and final_level(make_config("features.0")) == loose
