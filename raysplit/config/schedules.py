"""Schedules: which level an epoch trains at. What they decide is in raysplit/compress/schedule.py."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from raysplit.config.base import Frozen
from raysplit.config.level import DEFAULT_LEVEL, Level


class Fixed(Frozen):
    """One level from the first epoch to the last."""

    kind: Literal["fixed"] = "fixed"
    level: Level = DEFAULT_LEVEL

    def levels(self) -> tuple[Level, ...]:
        """Return every level that can be chosen."""
        return (self.level,)


class Phase(Frozen):
    level: Level
    share: Annotated[float, Field(gt=0)]
    """Share of the run's epochs, relative to the other phases' shares."""


class Stage(Phase):
    """A phase with a learning-rate schedule of its own: warm-up and decay take place within it."""

    lr_scale: Annotated[float, Field(gt=0)] = 1.0
    """The stage's peak learning rate, relative to `train.lr`."""


class Deprune(Frozen):
    """Tight first, looser later (Mudvari et al. 2024): a list of phases, each a level and a share of the epochs."""

    kind: Literal["deprune"] = "deprune"
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    reset_logits: bool = True
    """Redraw the channel logits between phases, so that channels left out get another chance."""
    fresh_optimizer: bool = True
    """Start each phase with empty optimiser state."""

    def levels(self) -> tuple[Level, ...]:
        """Return every level that can be chosen, in order."""
        return tuple(dict.fromkeys(phase.level for phase in self.phases))


class Prune(Frozen):
    """Loose first, then tighter by transfer (Mudvari et al. 2024): one run, a model kept at the end of each stage.

    All weights are carried over, nothing is frozen or redrawn; the optimiser goes on.
    """

    kind: Literal["prune"] = "prune"
    phases: Annotated[tuple[Stage, ...], Field(min_length=1)]

    def levels(self) -> tuple[Level, ...]:
        """Return the family's levels, loosest first."""
        return tuple(phase.level for phase in self.phases)

    @model_validator(mode="after")
    def _each_level_once(self) -> Prune:
        for level, count in Counter(self.levels()).items():
            if count > 1:
                raise ValueError(f"level {level} is in {count} phases; a family has one model for each level")
        return self


class _Ladder(Frozen):
    """Levels from the tightest to the loosest."""

    ladder: Annotated[tuple[Level, ...], Field(min_length=1)]

    def levels(self) -> tuple[Level, ...]:
        """Return every level that can be chosen, tightest first."""
        return self.ladder

    @model_validator(mode="after")
    def _each_level_once(self) -> Self:
        for level, count in Counter(self.ladder).items():
            if count > 1:
                raise ValueError(f"level {level} is in the ladder {count} times")
        return self


class Plateau(_Ladder):
    """One step looser whenever validation accuracy has stalled."""

    kind: Literal["plateau"] = "plateau"
    patience: Annotated[int, Field(ge=1)] = 2
    """Epochs at a level without a gain before the next level."""
    min_gain: Annotated[float, Field(ge=0)] = 0.005
    """Validation accuracy (0..1) that counts as a gain over the last counted gain at the level."""
    reset_logits: bool = True
    fresh_optimizer: bool = False


class LinkAware(_Ladder):
    """The loosest level whose optimiser step still fits a target time, on the link as measured while training."""

    kind: Literal["link_aware"] = "link_aware"
    step_s: Annotated[float, Field(gt=0)]
    """Target seconds of one optimiser step: both halves' compute and the link."""


class ByteBudget(_Ladder):
    """A total that training traffic never exceeds: tight as long as it must be, loose at the end.

    An epoch trains at the loosest level that could be kept up to the end with the bytes that are left, counted
    by the upper bound of every message.
    """

    kind: Literal["byte_budget"] = "byte_budget"
    megabytes: Annotated[float, Field(gt=0)]
    """Frame bytes of training traffic in both directions, in units of 10⁶."""


class FreezeAndCache(Frozen):
    """The device half learns first and is frozen; then its activations cross a few times and the server keeps them.

    With `train.local_loss` the device learns alone and nothing crosses in the first stage; without it the
    halves learn together. After `views` passes over the data, later epochs train on what the server kept.
    """

    kind: Literal["freeze_and_cache"] = "freeze_and_cache"
    learn: Stage
    """Until the device half is frozen."""
    send: Stage
    """The server learns: from messages in the first `views` epochs, from what it kept in the others."""
    views: Annotated[int, Field(ge=1)] = 2
    """Passes over the training data (each newly augmented) that cross."""
    head: bool = True
    """With a local loss: its head crosses once in fp16, and the server's answers are the mean of both. Not with
    `finish`, in which the device half moves away from the head."""
    shift: bool = True
    """The server moves each code by up to one cell each way, at random, whenever it learns from it."""
    finish: Stage | None = None
    """Both halves together again, at the end."""

    @property
    def phases(self) -> tuple[Stage, ...]:
        return (self.learn, self.send) if self.finish is None else (self.learn, self.send, self.finish)

    @property
    def hands_over(self) -> bool:
        """Whether the server takes over the head of a device that has one."""
        return self.head and self.finish is None

    def levels(self) -> tuple[Level, ...]:
        """Return every level that can be chosen, in order."""
        return tuple(dict.fromkeys(phase.level for phase in self.phases))


Schedule = Annotated[
    Fixed | Deprune | Prune | Plateau | LinkAware | ByteBudget | FreezeAndCache, Field(discriminator="kind")
]
