"""The static plan against real runs, the link's model, and machines that are too small."""

from __future__ import annotations

import json

import pytest

from raysplit.config import DataConfig, Fixed, Level, ModelConfig, SplitConfig, TrainConfig
from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir
from raysplit.hardware.link import NAMED, Link
from raysplit.hardware.machine import Machine, get_machine
from raysplit.planner.render import as_page, as_table
from raysplit.planner.static_plan import LEVELS, ON_DEVICE, ON_SERVER, static_plan
from raysplit.train.local import train_local

MODEL = ModelConfig(name="vgg5", args={"width": 0.25})
DATA = DataConfig(name="digits", train_rows=100)
ALL = [Level.model_validate(text) for text in LEVELS]


def planned(levels=ALL, **changes):
    given = {
        "link": NAMED["wifi"],
        "device": get_machine("pi4"),
        "server": get_machine("server"),
        "levels": levels,
    } | changes
    return static_plan(MODEL, DATA, **given)


@pytest.mark.parametrize("text", ["all·b32/b32", "all·b8/b4", "all·k20·b4/b2", "all·b2/b2·ch"])
def test_bytes_are_those_that_a_run_sends(text, tmp_path):
    level = Level.model_validate(text)
    rows = [row for row in planned([level], batch=20).rows if row.level]
    for row in rows[1::4]:
        config = SplitConfig(
            name="small",
            data=DATA,
            model=MODEL,
            cut=row.cut,
            bottleneck=None,
            schedule=Fixed(level=level),
            train=TrainConfig(epochs=1, batch_size=20, device="cpu"),
        )
        place = tmp_path / row.cut
        train_local(config, str(place))
        [epoch] = RunDir.at(str(place)).rows()
        up = epoch["up_activations"] + epoch["up_labels"] + epoch["up_headers"]
        down = epoch["down_gradients"] + epoch["down_headers"]
        images = 20 * epoch["steps"]
        assert row.exact and (row.train_bytes_up, row.train_bytes_down) == (up / images, down / images)


def test_seconds_are_operations_over_rates_and_bytes_over_the_link():
    link = Link("slow", up_bit_s=1e6, down_bit_s=2e6, round_trip_s=0.5, message_bytes=100)
    device = Machine(name="d", gflops_per_s=0.5, memory_mib=100, source="test")
    plan = planned(link=link, device=device)
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
    assert plan.best() == min(plan.rows, key=lambda row: row.total_s)


def test_what_the_device_cannot_hold_is_marked():
    small = Machine(name="tiny", gflops_per_s=1, memory_mib=0.05, source="test")
    rows = planned(device=small).rows
    too_large = [row for row in rows if row.fault]
    assert too_large and all(row.device_mib > 0.05 for row in too_large)
    assert all("tiny has 0.1" in row.fault for row in too_large)
    assert {row.cut for row in rows if not row.fault} >= {ON_SERVER}
    assert planned(device=small).best().fault is None


def test_what_cannot_keep_up_is_marked_with_the_part():
    link = Link("slow", up_bit_s=1e5, down_bit_s=1e5, round_trip_s=0.0, message_bytes=0)
    slow = Machine(name="d", gflops_per_s=0.001, memory_mib=100, source="test")
    rows = planned(link=link, device=slow, rate=100.0).rows
    assert rows[0].fault.startswith("the device takes") and "100 images/s leave 10.0" in rows[0].fault
    assert any(row.fault and row.fault.startswith("the link takes") for row in rows)
    assert rows[1].fault is None


def test_levels_wider_than_a_cut_are_left_out():
    rows = planned([Level.model_validate("c24·b4/b4")]).rows[2:]
    assert rows and len(rows) < len(planned([Level.model_validate("all·b4/b4")]).rows[2:])


def test_a_plan_is_plain_data_a_table_and_a_page():
    plan = planned(rate=30.0)
    again = json.loads(json.dumps(plan.as_json()))
    assert len(again["rows"]) == len(plan.rows) and again["device"]["name"] == "pi4"
    text, page = as_table(plan), as_page(plan)
    assert text.count("← soonest") == 1 and "30 images/s" in text
    assert all(row.cut in page for row in plan.rows) and page.count("soonest</td>") == 1
    assert "hsl(130" in page


def test_machines_from_files(tmp_path):
    file = tmp_path / "m.yaml"
    file.write_text("{name: mine, gflops_per_s: 3, memory_mib: 64, source: a guess}")
    assert get_machine(str(file)) == Machine(name="mine", gflops_per_s=3, memory_mib=64, source="a guess")
    file.write_text("{name: mine, gflops: 3, memory_mib: 64, source: a guess}")
    with pytest.raises(ConfigError, match="gflops_per_s"):
        get_machine(str(file))
    file.write_text("{")
    with pytest.raises(ConfigError, match="is not YAML"):
        get_machine(str(file))
    with pytest.raises(ConfigError, match="'pi' is neither a machine nor a file.*Nearest: pi4"):
        get_machine("pi")
