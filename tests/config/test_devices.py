"""The config of many devices."""

from __future__ import annotations

import pytest

from raysplit.config import DevicesConfig, Shards, SplitConfig
from raysplit.errors import ConfigError
from tests.train.recipes import plain_config

STAGE = "{level: all.b4/b4, share: 1}"


@pytest.mark.parametrize("text", ["iid", "dirichlet(0.5)", "dirichlet(100)", "classes(2)", "column(speaker_id)"])
def test_shards_read_back_from_their_text(text):
    assert str(Shards(text)) == text
    assert DevicesConfig.model_validate_json(DevicesConfig(shards=text).model_dump_json()).shards == Shards(text)


def test_a_run_of_one_device_is_written_as_it_always_was():
    assert "devices" not in plain_config().model_dump(mode="json")
    many = plain_config().with_settings(["devices.count=4", "devices.shards=dirichlet(0.5)", "devices.mode=merged"])
    assert many.model_dump(mode="json")["devices"] == {"count": 4, "mode": "merged", "shards": "dirichlet(0.5)"}
    assert SplitConfig.model_validate_json(many.model_dump_json()) == many


def test_data_of_its_own_for_each_device_say_how_many_there_are():
    assert DevicesConfig(data=("folder:a", "folder:b")).count == 2


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["devices.shards=dirichlet(0)"], "devices.shards.alpha: Input should be greater than 0"),
        (["devices.shards=dirichlet(-1)"], "alpha: Input should be greater than 0"),
        (["devices.shards=classes(0)"], "classes: Input should be greater than or equal to 1"),
        (["devices.shards=dirichlet"], "'dirichlet' does not say how data are dealt; write iid, dirichlet.0.5."),
        (["devices.shards=random"], "'random' does not say how data are dealt"),
        (["devices.count=0"], "devices.count: Input should be greater than or equal to 1"),
        (["devices.mode=splitfed"], "devices.mode: Input should be 'relay', 'splitfed_v1'"),
        (["devices.count=2", "devices.per_round=3"], "per_round=3 is more than count=2"),
        (["devices.count=3", "devices.data=[folder:a, folder:b]"], "data names 2 data sets for 3 devices"),
        (["devices.data=[folder:a, folder:b]", "devices.shards=classes(2)"], "leave one of them out"),
        (["devices.classes=[cat, dog]"], "classes are those of devices with data of their own, and data is empty"),
        (
            ["devices.data=[folder:a]", "devices.classes=[cat, dog, cat]"],
            "classes has 'cat' twice; name each class once",
        ),
        (["devices.local_epochs=2", "devices.round_steps=9"], "round_steps and local_epochs both say how long"),
        (
            ["devices.shards=column(speaker)"],
            r"shards=column\(speaker\) reads a Parquet column or the speakers of audio:PATH, and data.name is 'digits'",
        ),
        (["devices.mode=fedavg", "schedule.level=all.b4/b4"], "fedavg trains the whole network .* schedule.kind=fixed"),
        (["devices.mode=fedavg", "bottleneck={}"], "fedavg has neither a bottleneck nor a local loss"),
        (["devices.mode=splitfed_v1", "train.device_half=frozen"], "splitfed_v1 has a server half for each device"),
        (
            [
                "devices.mode=splitfed_v1",
                f"schedule={{kind: freeze_and_cache, learn: {STAGE}, send: {STAGE}}}",
                "train.epochs=2",
            ],
            "codes that are cached train one on all of them; set devices.mode to splitfed_v2",
        ),
        (
            ["devices.count=3", "schedule={kind: byte_budget, ladder: [all.b4/b4, all.b8/b8], megabytes: [9, 8]}"],
            "schedule.megabytes has 2 budgets for 3 devices; give one for each, or one number for all",
        ),
        (
            [
                "devices.count=2",
                "train.device_half=frozen",
                "schedule={kind: byte_budget, ladder: [all.b4/b4, all.b8/b8], megabytes: 9}",
            ],
            "are cached at one level, and this schedule decides for each device",
        ),
    ],
)
def test_what_does_not_go_together(settings, text):
    with pytest.raises(ConfigError, match=text):
        plain_config().with_settings(settings)
