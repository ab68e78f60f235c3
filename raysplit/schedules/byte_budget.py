"""Byte budget: a total of training traffic that is never exceeded."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from raysplit.errors import ConfigError
from raysplit.records.epoch import total_traffic
from raysplit.schedules.base import Decision, History, RunContext
from raysplit.schedules.ladder import Ladder
from raysplit.wire.level import Level

_Megabytes = Annotated[float, Field(gt=0)]
_Budgets = Annotated[
    Annotated[_Megabytes, Tag("one")] | Annotated[tuple[_Megabytes, ...], Field(min_length=1), Tag("each")],
    Discriminator(lambda given: "each" if isinstance(given, list | tuple) else "one"),
]
"""Tagged, so that an error is about the one that was given."""


class ByteBudget(Ladder):
    """A total that training traffic never exceeds: tight for as long as necessary, loose at the end.

    An epoch trains at the loosest level that could be kept to the end with the remaining bytes, counted by the upper
    bound of every message.

    >>> from raysplit.config import Level
    >>> sizes = {Level("c4.b4/b4"): 1_000, Level("all.b4/b4"): 5_000}
    >>> context = RunContext(epochs=4, steps=100, step_bytes=sizes.__getitem__)
    >>> ByteBudget(ladder=tuple(sizes), megabytes=1).decide(context, []).reason
    '1 MB left for 4 epochs'
    """

    for_each_device: ClassVar[bool] = True
    kind: Literal["byte_budget"] = "byte_budget"
    megabytes: _Budgets
    """Frame bytes of training traffic in both directions, in units of 10⁶. Of many devices, one budget is that of each;
    several are the devices' own, one for each."""

    def decide(self, context: RunContext, history: History) -> Decision:
        """Return the loosest level that could be kept to the end with the remaining bytes.

        Epochs that cost less than their bound leave more for later ones, so levels only ever get looser. Codes of a
        frozen device half that the server caches cross once. Raises ConfigError when even the tightest level may cost
        more.
        """
        megabytes = self.megabytes[context.device] if isinstance(self.megabytes, tuple) else self.megabytes
        step_bytes, left = context.step_bytes, context.epochs - len(history)
        spent, once = total_traffic(history), context.frozen and context.repeats

        def ahead(level: Level) -> int:
            passes = (context.next_mode(level, history) != "cached") if once else left
            return passes * context.steps * step_bytes(level) + left * context.round_bytes

        # Compared in megabytes: the number in the error reads back as this very quotient; times 1e6 may fall short.
        affordable = [level for level in self.ladder if (spent + ahead(level)) / 1e6 <= megabytes]
        if not affordable:
            tightest = min(self.ladder, key=step_bytes)
            span = "one pass" if once else f"{left} epochs"
            needed = f"{ahead(tightest) / 1e6:.6f}".rstrip("0").rstrip(".")  # to the byte
            raise ConfigError(
                f"schedule.megabytes={megabytes} is too little: {span} at the tightest level {tightest} may take "
                f"{needed} MB; allow more or add a tighter level"
            )
        reason = f"{megabytes - spent / 1e6:.4g} MB left for {left} epochs"
        level = max(affordable, key=step_bytes)
        return Decision(level, reason, mode=context.next_mode(level, history), fresh_views=context.frozen)
