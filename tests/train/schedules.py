"""A tiny run of every schedule and mode, on digits."""

from __future__ import annotations

from raysplit.config import BottleneckConfig, ByteBudget, Fixed, Level, LinkAware, Nested, Plateau, SplitConfig
from raysplit.schedules import Decision, History, RunContext
from tests.train.freezing import freezing_config
from tests.train.recipes import family_config, plain_config, squeezed_config

_LADDER = ("c2.b4/b4", "all.b8/b8")
_NESTED = Nested(
    phases=({"levels": _LADDER[::-1], "share": 1, "keep": True}, {"levels": _LADDER, "share": 1, "keep": True})
)


class Alone:
    """A user's own schedule, in memory: the device learns by its own loss to the end."""

    def levels(self) -> tuple[Level, ...]:
        return (Level("c4.b4/b4"),)

    def decide(self, context: RunContext, history: History) -> Decision:
        return Decision(Level("c4.b4/b4"), "alone", mode="alone")


def _with(schedule: object, **train: object) -> SplitConfig:
    plain = plain_config()
    return plain.replaced(
        name="digits_vgg11_other",
        bottleneck=BottleneckConfig(),
        schedule=schedule,
        train=plain.train.replaced(**({"epochs": 2} | train)),
    )


def every_schedule() -> dict[str, SplitConfig]:
    """Return a config for each schedule, mode of its last epoch and kind of level, by a name for it."""
    return {
        "fixed, no bottleneck": plain_config(),
        "fixed, top-k, feedback": _with(Fixed(level="all.k8.b4/b4.ef"), precision="bf16"),
        "fixed, a range a channel": _with(Fixed(level="c4.b4/b4.ch.zstd"), channels_last=True),
        "deprune": squeezed_config(),
        "prune": family_config(),
        "plateau": _with(Plateau(ladder=_LADDER, patience=1)),
        "link-aware": _with(LinkAware(ladder=_LADDER, step_s=10)),
        "byte budget": _with(ByteBudget(ladder=_LADDER, megabytes=0.05)),
        "freeze and cache, cached": freezing_config(4),
        "freeze and cache, frozen": freezing_config(3),
        "a schedule in memory, alone": freezing_config(2).replaced(schedule=Alone()),
        "freeze and cache, finished": freezing_config(4, finish=True),
        "freeze and cache, joint": freezing_config(3, local=False),
        "nested": squeezed_config().replaced(schedule=_NESTED),
        "identity, prune": family_config().replaced(bottleneck=BottleneckConfig(start="identity", order="fixed")),
        "identity, deprune": squeezed_config().replaced(bottleneck=BottleneckConfig(start="identity", order="learned")),
    }
