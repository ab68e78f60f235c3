"""A user's own schedule in a file."""

from __future__ import annotations

import pickle

import pytest

from raysplit.config import Level
from raysplit.errors import ConfigError
from raysplit.schedules import Decision, RunContext, UserSchedule, foresee, next_decision
from tests.schedules.histories import context

OWN = """
from raysplit.config import Level
from raysplit.schedules import Decision

class Halving:
    def __init__(self, start=8):
        self.start = start

    def levels(self):
        return tuple(Level(channels=c) for c in (self.start, self.start // 2))

    def decide(self, context, history):
        return Decision(self.levels()[len(history) > 0], "half as many")

class Watching(Halving):
    measures = True

class Sloppy(Halving):
    def decide(self, context, history):
        return (Level(), "why not") if self.start == 8 else Decision(Level(), "not listed")

class Silent:
    def decide(self, context, history): ...

def function(): ...
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path}/own.py"


def test_it_decides(own):
    schedule = UserSchedule(target=f"{own}:Halving", args={"start": 4})
    levels = Level(channels=4), Level(channels=2)
    assert schedule.levels() == levels
    run = RunContext(2, 10, lambda level: 1_000)
    assert foresee(schedule, run) == [Decision(level, "half as many") for level in levels]
    assert foresee(UserSchedule(target=f"{own}:Watching"), run) is None


def test_it_travels_without_its_class(own):
    schedule = UserSchedule(target=f"{own}:Halving")
    schedule.levels()
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule and "_schedule" not in vars(again) and again.levels() == schedule.levels()


@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("Halvin", {}, r"own\.py has no class 'Halvin'\. Nearest: Halving, Watching\."),
        ("function", {}, r"own\.py has no class 'function'\."),
        ("Silent", {}, r"schedule .*own\.py:Silent: Silent is not a schedule: it has no method levels"),
        ("Halving", {"begin": 3}, r"own\.py:Halving takes no argument 'begin'\. Known: start\."),
    ],
)
def test_classes_that_are_none(own, name, args, text):
    schedule = UserSchedule(target=f"{own}:{name}", args=args)
    with pytest.raises(ConfigError, match=text) as caught:
        schedule.levels()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (8, r"own\.py:Sloppy: decide must return a raysplit\.schedules\.Decision, it returned a tuple"),
        (
            4,
            r"own\.py:Sloppy: decide chose the level all·b32/b32, levels\(\) lists c4·b32/b32, c2·b32/b32; add",
        ),
    ],
)
def test_decisions_that_are_none(own, start, text):
    with pytest.raises(ConfigError, match=text):
        next_decision(UserSchedule(target=f"{own}:Sloppy", args={"start": start}), context(), [])
