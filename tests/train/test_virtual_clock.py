"""The time of virtual devices: their machines and links, and who is slow, drops out or is away."""

from __future__ import annotations

import pytest

from raysplit.config import AvailabilityConfig, SplitConfig
from raysplit.errors import ConfigError
from raysplit.train.local import train_local
from raysplit.train.predict import predict_epoch_s
from raysplit.train.virtual_clock import Compute, VirtualClock
from tests.train.many import many_config
from tests.train.test_devices import train
from tests.train.test_virtual_devices import assert_equal_runs, virtual


def timed(mode: str = "merged", count: int = 8, epochs: int = 3, **devices: object) -> SplitConfig:
    config = many_config(mode, count=count, epochs=epochs, shards="iid", per_round=4)
    return config.replaced(devices=config.devices.replaced(kind="virtual", optimizer="reset", **devices))


def test_machines_and_links_are_drawn_by_their_weights():
    clock = VirtualClock(timed(count=1000, machines={"pi4": 3, "jetson": 1}, links={"lte": 1}), Compute(0.1, 0.2))
    jetsons = sum(clock.machine(device).name == "jetson" for device in range(1000))
    assert 200 < jetsons < 300 and {clock.link(device).name for device in range(1000)} == {"lte"}


@pytest.mark.parametrize("mode", ["relay", "splitfed_v2", "merged", "fedavg"])
def test_a_round_takes_as_long_as_its_devices(mode):
    loop = train(timed(mode, links={"iot": 1, "ethernet": 1}, machines={"mcu": 1, "jetson": 1}))
    side_by_side = mode in ("merged", "fedavg")
    for record in loop.records:
        own = [one for one in loop.device_records if one.epoch.epoch == record.epoch]
        assert len({(one.machine, one.link) for one in loop.device_records}) > 1
        seconds = [one.virtual_s for one in own]
        assert record.virtual_s == (max(seconds) if side_by_side else sum(seconds)) > 0


def test_the_time_of_a_device_is_that_of_its_machine_and_link():
    config = timed("splitfed_v2", machines={"mcu": 1}, links={"iot": 1})
    loop = train(config)
    compute = Compute.of(config, 10, (1, 8, 8))
    one, link = loop.device_records[0], loop._fleet._clock.link(0)
    device_s = (3 * one.samples + loop._fleet.members[one.device].facts.val_rows) * compute.device / 0.2
    assert one.virtual_s > device_s and link.name == "iot"
    assert one.virtual_s >= link.up_s(one.epoch.bytes_up) + link.down_s(one.epoch.bytes_down) + device_s
    assert one.virtual_s < 1.5 * predict_epoch_s(one.epoch, 1, link) + device_s


def test_time_does_not_depend_on_workers_or_on_this_machine():
    availability = AvailabilityConfig(stragglers=0.3, dropout=0.3, hours=8)
    config = timed("merged", availability=availability, links={"lte": 1, "wifi": 2})
    one = train(config)
    other = train(config.replaced(devices=config.devices.replaced(workers=3)))
    assert_equal_runs(one, other)
    assert [row.virtual_s for row in one.records] == [row.virtual_s for row in other.records]


def test_without_availability_nothing_but_the_time_changes():
    config = many_config("merged", count=8, epochs=2, per_round=4, shards="iid")
    assert_equal_runs(train(virtual(config)), train(config))


def test_slow_devices():
    known = train(timed()).device_records
    slow = train(timed(availability=AvailabilityConfig(stragglers=0.5, slowdown=3))).device_records
    factors = {round(one.virtual_s / other.virtual_s, 6) for one, other in zip(slow, known, strict=True)}
    assert factors == {1.0, 3.0}


def test_devices_that_drop_out_take_no_part():
    known = train(timed(epochs=6)).device_records
    left = train(timed(epochs=6, availability=AvailabilityConfig(dropout=0.5))).device_records
    took = [{(row.epoch.epoch, row.device) for row in rows} for rows in (known, left)]
    assert took[1] < took[0] and {epoch for epoch, _ in took[1]} == set(range(6)), "no round is empty"


def test_devices_are_drawn_while_they_are_there():
    config = timed(count=12, epochs=3, machines={"mcu": 1}, availability=AvailabilityConfig(hours=2))
    loop = train(config)
    clock = VirtualClock(config, Compute.of(config, 10, (1, 8, 8)))
    for record in loop.records:
        begun = (clock.now_s + clock.wait_s()) / 3600 + 1e-6
        for one in loop.device_records:
            if one.epoch.epoch == record.epoch:
                assert clock.there(begun)[one.device]
        clock.now_s += record.virtual_s


def test_the_server_waits_for_the_next_device():
    clock = VirtualClock(timed(count=4, availability=AvailabilityConfig(hours=0.5)), Compute(0.1, 0.2))
    hours = [clock.now_s / 3600 + step / 10 for step in range(240)]
    away = next(hour for hour in hours if not clock.there(hour).any())
    clock.now_s = away * 3600
    assert clock.wait_s() > 0 and clock.ready().any()


def test_a_resumed_run_goes_on_at_its_time(tmp_path):
    def stop(epoch, step, steps, loss):
        if epoch == 2:
            raise KeyboardInterrupt

    config = timed(epochs=4, availability=AvailabilityConfig(hours=3))
    known = train(config)
    with pytest.raises(KeyboardInterrupt):
        train_local(config, str(tmp_path), on_step=stop)
    again = train_local(config, str(tmp_path))
    assert again.accuracy == known.test.accuracy


@pytest.mark.parametrize(("key", "what"), [("machines", "machine"), ("links", "link")])
def test_a_machine_or_a_link_that_does_not_exist(key, what):
    with pytest.raises(ConfigError, match=f"devices.{key}: 'pi5' is neither a {what} nor a file that describes one"):
        VirtualClock(timed(**{key: {"pi5": 1}}), Compute(0.1, 0.2))
