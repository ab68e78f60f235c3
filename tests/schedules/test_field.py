"""The schedule in a config: described, in a user's file, or an object in memory."""

from __future__ import annotations

import pytest

from raysplit.config import Fixed, Level, SplitConfig, loads, parse
from raysplit.errors import ConfigError
from raysplit.schedules import Decision, ScheduleRecord, UserSchedule
from raysplit.schedules.field import read_schedule
from tests.schedules.histories import MIDDLE, TIGHT

PLAIN = {"name": "demo", "data": {"name": "digits"}, "model": {"name": "vgg11"}, "cut": "features.7"}


class Alternate:
    """Two levels in turn."""

    def __init__(self, first=TIGHT):
        self.first = first

    def levels(self):
        return (self.first, MIDDLE)

    def decide(self, context, history):
        return Decision(self.levels()[len(history) % 2], "in turn")


class Tighter(Fixed):
    """A subclass of one of the package's schedules."""


def config(**changes):
    return parse(SplitConfig, PLAIN | changes, "recipe demo")


def test_an_object_is_kept_as_it_is():
    schedule = Alternate()
    made = config(schedule=schedule)
    assert made.schedule is schedule and made.levels() == (TIGHT, MIDDLE)
    assert made.replaced(name="other").schedule is schedule
    assert made.with_settings(["train.epochs=3", "cut=features.3"]).schedule is schedule
    assert made.with_settings(["schedule={kind: fixed}"]).schedule == Fixed()


@pytest.mark.parametrize(("schedule", "name"), [(Alternate(), "Alternate"), (Tighter(level=TIGHT), "Tighter")])
def test_an_object_leaves_its_record(schedule, name):
    made = config(schedule=schedule)
    assert made.model_dump()["schedule"] == {"kind": "object", "name": name}
    again = loads(SplitConfig, made.model_dump_json(), "record")
    assert again.schedule == ScheduleRecord(name=name)
    assert loads(SplitConfig, again.model_dump_json(), "record") == again
    text = (
        rf"^schedule was an object in memory \({name}\), which config.json cannot hold: pass it again with "
        r"config.replaced\(schedule=…\), or name it as path.py:Class$"
    )
    for call in (again.levels, lambda: again.schedule.decide(None, [])):
        with pytest.raises(ConfigError, match=text):
            call()


@pytest.mark.parametrize(
    "schedule",
    ["own.py:Alternate", {"kind": "user", "target": "own.py:Alternate"}, UserSchedule(target="own.py:Alternate")],
)
def test_a_class_in_a_file_is_not_loaded_before_it_is_used(schedule):
    made = config(schedule=schedule)
    assert made.schedule == UserSchedule(target="own.py:Alternate", args={})
    assert made.model_dump()["schedule"] == {"kind": "user", "target": "own.py:Alternate", "args": {}}
    assert loads(SplitConfig, made.model_dump_json(), "record") == made
    with pytest.raises(ConfigError, match=r"own.py:Alternate: there is no file .*own\.py"):
        made.levels()


def test_settings_name_a_class_and_its_arguments():
    made = config().with_settings(["schedule=own.py:Alternate", "schedule.args.first=c4.b4/b4", "train.epochs=2"])
    assert made.schedule == UserSchedule(target="own.py:Alternate", args={"first": "c4.b4/b4"})
    made = made.with_settings(["schedule.args.first=c8.b4/b4", "schedule.args.more={a: 1}", "schedule.args.more.a=2"])
    assert made.schedule.args == {"first": "c8.b4/b4", "more": {"a": 2}}


class Deciding:
    def decide(self, context, history):
        """All that it can."""


class Lists(Alternate):
    def __init__(self, levels):
        self._levels = levels

    def levels(self):
        return self._levels


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Deciding(), "schedule: Deciding is not a schedule: it has no method levels"),
        (3, "schedule: int is not a schedule: it has no method levels, decide (got 3)"),
        (Alternate, "schedule: Alternate is a class, a schedule is an object of it: write Alternate(…)"),
        ("tight", "schedule.user.target: 'tight' is not of the form path.py:Class"),
        ({"kind": "pruned"}, "schedule: 'pruned' is not a kind of schedule. Nearest: prune, deprune."),
        ({"level": "all.b4/b4"}, "schedule: '' is not a kind of schedule. Known: fixed, deprune, "),
        ({"kind": "user", "target": "own.py:X", "arg": {}}, "schedule.user: unknown key 'arg'. Nearest: "),
        (
            Lists(()),
            "schedule Lists: levels() must return a tuple of one or more raysplit.config.Level, it returned ()",
        ),
        (Lists(["all.b4/b4"]), "schedule Lists: levels() must return a tuple of one or more raysplit.config.Level"),
        (Lists(None), "schedule Lists: levels() must return a tuple of one or more raysplit.config.Level"),
    ],
)
def test_faults(schedule, text):
    with pytest.raises(ConfigError) as caught:
        config(schedule=schedule)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_levels_of_an_object_are_checked_like_others():
    with pytest.raises(ConfigError, match="level c4·b32/b32 keeps 4 channels, which needs a bottleneck"):
        config(schedule=Alternate(), bottleneck=None)
    assert config(schedule=Lists([TIGHT, MIDDLE, TIGHT])).levels() == (TIGHT, MIDDLE)


def test_a_setting_cannot_reach_into_an_object():
    with pytest.raises(ConfigError, match=r"schedule is an object in memory \(Alternate\), so schedule.first"):
        config(schedule=Alternate()).with_settings(["schedule.first=c8.b4/b4"])


def test_a_schedule_is_read_from_what_a_config_holds():
    assert read_schedule({"kind": "fixed", "level": "c4.b32/b32"}) == Fixed(level=Level(channels=4))
