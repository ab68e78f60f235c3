"""Freeze and cache: the device half is trained and frozen; its codes cross a few times, and the server caches them.

One of a family of methods that train the device half by a loss of its own, so that no gradient comes down, with many
clients: CSE-FSL (arXiv 2302.05599) sends activations in selected epochs, FSL-SAGE (arXiv 2505.23182) estimates the
server's gradient, Ampere (arXiv 2507.07130) sends the activations of a trained device half once.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raysplit.records.epoch import Mode
from raysplit.schedules.base import Decision, History, RunContext
from raysplit.schedules.phases import Stage, phase_position
from raysplit.utils.frozen import Frozen
from raysplit.wire.level import Level


class FreezeAndCache(Frozen):
    """The device half is trained first and frozen; its activations cross a few times, and the server caches them.

    With `train.local_loss` the device trains alone in the first stage and nothing crosses; without it both halves
    train together. After `views` passes over the data, later epochs train on the cache.

    Nearest to Ampere (arXiv 2507.07130). Here there is one device, what crosses are the quantized codes of a bottleneck
    for a few augmented views of each image, and the device's head can be averaged with the server's answer.

    >>> stage = {"level": "c4.b4/b4", "share": 1}
    >>> schedule = FreezeAndCache(learn=stage, send=stage, views=1)
    >>> context = RunContext(epochs=4, steps=10, step_bytes=lambda level: 1_000)
    >>> from raysplit.schedules import foresee
    >>> [decision.mode for decision in foresee(schedule, context)]
    ['joint', 'joint', 'frozen', 'cached']
    """

    kind: Literal["freeze_and_cache"] = "freeze_and_cache"
    learn: Stage
    """The stage in which the device half is trained."""
    send: Stage
    """The stage in which the server half is trained: on messages for `views` epochs, then on the cache."""
    views: Annotated[int, Field(ge=1)] = 2
    """Passes over the training data that cross, each newly augmented."""
    head: bool = True
    """With a local loss: send its head once, in fp16, and answer with the mean of both. Without effect with `finish`,
    in which the device half moves away from the head."""
    shift: bool = True
    """Shift each code at random by up to one cell along both axes whenever the server trains on it."""
    finish: Stage | None = None
    """A last stage that trains both halves together again."""

    @property
    def phases(self) -> tuple[Stage, ...]:
        """The stages in order."""
        return (self.learn, self.send) if self.finish is None else (self.learn, self.send, self.finish)

    @property
    def hands_over(self) -> bool:
        """Whether the server takes over the head of a device that has one."""
        return self.head and self.finish is None

    def levels(self) -> tuple[Level, ...]:
        """Return every level that can be chosen, in order."""
        return tuple(dict.fromkeys(phase.level for phase in self.phases))

    def decide(self, context: RunContext, history: History) -> Decision:
        """Return the stage's level and the epoch's mode: alone or joint, then frozen, then cached."""
        at = phase_position(self.phases, len(history), context.epochs)
        stage = self.phases[at.index]
        mode, reason = self._mode(at.index, at.epoch - at.start, context.local_loss)
        hand_over = at.index == 1 and at.entering and self.hands_over and context.local_loss
        return Decision(
            stage.level,
            reason,
            mode=mode,
            fresh_optimizer=at.entering,
            span=at.span,
            lr_scale=stage.lr_scale,
            hand_over=hand_over,
        )

    def _mode(self, phase: int, epoch: int, local_loss: bool) -> tuple[Mode, str]:
        if phase == 0:
            return ("alone", "the device learns alone") if local_loss else ("joint", "before the device half is frozen")
        if phase == 2:
            return "joint", "finish together"
        if epoch < self.views:
            return "frozen", f"frozen, view {epoch + 1} of {self.views} is sent and kept"
        return "cached", "frozen, from what the server kept"
