"""What every schedule takes and gives: the run's context, the history so far, a decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from raysplit.errors import ConfigError, RaysplitError, nearest
from raysplit.records.epoch import ByteCounts, EpochRecord, Mode
from raysplit.schedules.mixture import WeightedLevel, draw_level
from raysplit.wire.level import Level

History = Sequence[EpochRecord]
"""The epochs that are over, oldest first; the epoch to decide on has the number `len(history)`."""


@dataclass(frozen=True)
class Decision:
    """How the next epoch trains.

    >>> Decision(Level("c4.b4/b4"), "tightest first").mode
    'joint'
    """

    level: Level
    reason: str
    """Why, in a few words: the run record shows it."""
    reset_logits: bool = False
    """Redraw the bottleneck's logits before the epoch."""
    fresh_optimizer: bool = False
    """Empty the optimizers' state before the epoch."""
    mode: Mode = "joint"
    fresh_views: bool = False
    """Discard the codes that the server has cached before an epoch in mode `frozen`."""
    ends_level: bool = False
    """The model is kept at the end of the epoch: one level of a family."""
    hand_over: bool = False
    """The device's head crosses before the epoch and becomes part of the server half."""
    span: tuple[int, int] | None = None
    """First epoch and number of epochs that the learning-rate schedule covers; None: the whole run."""
    lr_scale: float = 1.0
    """Peak learning rate of that span, relative to `train.lr`."""
    mixture: tuple[WeightedLevel, ...] = ()
    """Levels that the epoch's optimizer steps draw from; empty: all are at `level`. Evaluation is at `level`."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """Every level that the epoch trains at."""
        return tuple(entry.level for entry in self.mixture) or (self.level,)

    def level_at(self, step: int, seed: int) -> Level:
        """Return the level of optimizer step `step` of a run with `train.seed=seed`."""
        return draw_level(self.mixture, seed, step) if self.mixture else self.level

    def mean_bytes(self, step_bytes: Callable[[Level], int]) -> float:
        """Return the mean of `step_bytes` over the epoch's steps, as expected before levels are drawn."""
        if not self.mixture:
            return step_bytes(self.level)
        weights = [entry.weight for entry in self.mixture]
        sizes = [step_bytes(entry.level) for entry in self.mixture]
        return sum(weight * size for weight, size in zip(weights, sizes, strict=True)) / sum(weights)


@dataclass(frozen=True)
class RunContext:
    """What a schedule knows of the run.

    >>> context = RunContext(epochs=6, steps=50, step_bytes=lambda level: 1000 * level.up_bits)
    >>> context.epochs * context.steps * context.step_bytes(Level("c4.b4/b4"))
    1200000
    """

    epochs: int
    """Total number of epochs."""
    steps: int
    """Optimizer steps in an epoch."""
    step_bytes: Callable[[Level], int]
    """The most training bytes, both ways, of one optimizer step at a level."""
    local_loss: bool = False
    """The device half has a loss of its own."""
    frozen: bool = False
    """Nothing of the device half is trained, not even a bottleneck: gradients would serve nothing."""
    repeats: bool = False
    """Each epoch has the same images: a frozen half's codes do not change."""
    round_bytes: int = 0
    """The most bytes of weights, both ways, that one of many devices exchanges in an epoch."""
    device: int = 0
    """The number of the device that is decided for, where a schedule decides for each of many."""

    @property
    def mode(self) -> Mode:
        """How an epoch trains, from newly sent codes, unless the schedule has a reason to do otherwise."""
        if self.frozen:
            return "frozen"
        return "local" if self.local_loss else "joint"

    def next_mode(self, level: Level, history: History) -> Mode:
        """Return how the next epoch trains at a level unless the schedule has a reason to do otherwise.

        What a frozen device half would send again, at the same level, the server has cached.
        """
        same = bool(history) and history[-1].level == str(level)
        return "cached" if self.frozen and self.repeats and same else self.mode


@runtime_checkable
class Schedule(Protocol):
    """Picks a level for each epoch. Any class with these two methods is a schedule (docs/extending.md).

    One whose decisions depend on what the run measures, not on levels and bytes alone, says so by an attribute
    `measures = True`: its plan is then an upper bound. One that decides by a link or a budget has
    `for_each_device = True`: of many devices, it is asked for each, with that device's own history. One that hands the
    device's head over has `hands_over = True`.

    >>> class Alternate:
    ...     def levels(self):
    ...         return Level("c4.b4/b4"), Level("all.b4/b4")
    ...
    ...     def decide(self, context, history):
    ...         return Decision(self.levels()[len(history) % 2], "by turns")
    >>> isinstance(Alternate(), Schedule)
    True
    """

    def levels(self) -> tuple[Level, ...]:
        """Return every level that can be chosen, without repeats."""
        ...

    def decide(self, context: RunContext, history: History) -> Decision:
        """Return how the next epoch trains; a pure function of its arguments, since a resumed run asks again.

        Raises ConfigError when no level will do.
        """
        ...


def check_schedule(value: object) -> Schedule:
    """Return an object that is a schedule; ValueError, which names what is missing, for any other.

    >>> check_schedule("tight")
    Traceback (most recent call last):
    ValueError: str is not a schedule: it has no method levels, decide
    """
    name = getattr(value, "__name__", type(value).__name__)
    missing = [method for method in ("levels", "decide") if not callable(getattr(value, method, None))]
    if missing:
        raise ValueError(f"{name} is not a schedule: it has no method {', '.join(missing)}")
    if isinstance(value, type):
        raise ValueError(f"{name} is a class, a schedule is an object of it: write {name}(…)")
    assert isinstance(value, Schedule)
    return value


def list_levels(schedule: Schedule) -> tuple[Level, ...]:
    """Return every level that a schedule can choose, without repeats, in its order.

    Raises ConfigError if a schedule lists no level, or something that is not a Level.

    >>> from raysplit.schedules import Fixed
    >>> [str(level) for level in list_levels(Fixed(level="c4.b4/b4"))]
    ['c4·b4/b4']
    """
    levels = _call(schedule, "levels")
    if not isinstance(levels, list | tuple) or not levels or not all(isinstance(level, Level) for level in levels):
        raise ConfigError(
            f"schedule {_name(schedule)}: levels() must return a tuple of one or more raysplit.config.Level, it "
            f"returned {levels!r}"
        )
    return tuple(dict.fromkeys(levels))


def next_decision(schedule: Schedule, context: RunContext, history: History) -> Decision:
    """Return how the next epoch trains, checked against the levels that the schedule lists.

    Raises ConfigError if decide returns something other than a Decision, or a level that levels() does not list.

    >>> from raysplit.schedules import Fixed
    >>> context = RunContext(epochs=3, steps=10, step_bytes=lambda level: 1_000)
    >>> str(next_decision(Fixed(level="c4.b4/b4"), context, []).level)
    'c4·b4/b4'
    """
    decision = _call(schedule, "decide", context, history)
    if not isinstance(decision, Decision):
        raise ConfigError(
            f"schedule {_name(schedule)}: decide must return a raysplit.schedules.Decision, it returned a "
            f"{type(decision).__name__}"
        )
    if not all(isinstance(entry, WeightedLevel) for entry in decision.mixture):
        raise ConfigError(
            f"schedule {_name(schedule)}: the mixture of a Decision is a tuple of raysplit.schedules.WeightedLevel, "
            f"decide gave {decision.mixture!r}"
        )
    levels = list_levels(schedule)
    for level in (decision.level, *decision.levels):
        if level not in levels:
            raise ConfigError(
                f"schedule {_name(schedule)}: decide chose the level {level}, levels() lists "
                f"{', '.join(map(str, levels))}; add it there"
            )
    if problem := _find_problem(schedule, decision, context, history):
        raise ConfigError(f"schedule {_name(schedule)}: decide chose {problem}")
    return decision


def foresee(schedule: Schedule, context: RunContext) -> list[Decision] | None:
    """Return the decisions of all epochs before the run, or None where they depend on what it will measure.

    Only levels and the upper bound of each message are known in advance: a byte budget may loosen earlier than this.

    >>> from raysplit.schedules import Fixed, Plateau
    >>> context = RunContext(epochs=2, steps=10, step_bytes=lambda level: 1_000)
    >>> [decision.reason for decision in foresee(Fixed(), context)]
    ['fixed', 'fixed']
    >>> foresee(Plateau(ladder=("c4.b4/b4", "all.b4/b4")), context) is None
    True
    """
    if getattr(schedule, "measures", False):
        return None
    decisions: list[Decision] = []
    history: list[EpochRecord] = []
    for epoch in range(context.epochs):
        decision = next_decision(schedule, context, history)
        decisions.append(decision)
        crosses = decision.mode not in ("alone", "cached")
        sent = round(context.steps * decision.mean_bytes(context.step_bytes)) if crosses else 0
        bound = ByteCounts(up_activations=sent)
        history.append(
            EpochRecord(epoch=epoch, level=str(decision.level), mode=decision.mode, steps=context.steps, bytes=bound)
        )
    return decisions


def _call(schedule: Schedule, method: Literal["levels", "decide"], *args: object) -> Any:
    """Call a method of a schedule; what a user's own raises is a ConfigError, which no run tries again."""
    try:
        return getattr(schedule, method)(*args)
    except RaysplitError:
        raise
    except Exception as err:
        reason = " ".join(str(err).split())
        raise ConfigError(f"schedule {_name(schedule)}: {method} raised {type(err).__name__}: {reason}") from err


def _find_problem(schedule: Schedule, decision: Decision, context: RunContext, history: History) -> str | None:
    """Return what cannot be done of a decision, with the remedy."""
    mode, previous = decision.mode, history[-1].mode if history else None
    if mode not in get_args(Mode):
        return f"the mode '{mode}'. {nearest(str(mode), get_args(Mode))}"
    if mode == "joint" and context.frozen:
        return "the mode 'joint', but nothing of the device half is trained; take context.mode, or 'cached' after it"
    if mode in ("local", "alone") and not context.local_loss:
        return f"the mode '{mode}', in which the device learns by a loss of its own; set train.local_loss"
    if mode == "cached" and previous not in ("frozen", "cached"):
        return "the mode 'cached', but nothing is cached: it must follow an epoch in mode 'frozen' or 'cached'"
    if decision.mixture and mode in ("frozen", "cached"):
        return f"a mixture of levels in the mode '{mode}', in which codes cross once and are cached; choose one level"
    if decision.mixture and any(level.feedback for level in decision.levels):
        return "a mixture of levels with error feedback, which goes from step to step at one level; leave out ef"
    if decision.hand_over and not context.local_loss:
        return "hand_over=True, but the device has no head to hand over; set train.local_loss"
    if decision.hand_over and not getattr(schedule, "hands_over", False):
        return "hand_over=True, which needs the attribute hands_over = True on the schedule"
    return None


def _name(schedule: Schedule) -> str:
    return str(getattr(schedule, "target", type(schedule).__name__))
