"""The rows of the traffic benchmark: what each trains, as a function from the plain run's config to its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raysplit.config import (
    UNCOMPRESSED,
    BottleneckConfig,
    ByteBudget,
    Deprune,
    Fixed,
    FreezeAndCache,
    Level,
    LocalLoss,
    ModelConfig,
    Nested,
    Phase,
    Plateau,
    Prune,
    Schedule,
    SplitConfig,
    Stage,
)

Make = Callable[[SplitConfig], SplitConfig]
ROWS: dict[str, Make] = {}
"""In the order in which they are trained."""
REFERENCE = "split fp32"
ALONE = "device alone"
NETWORKS = "benchmarks/traffic/networks.py"
GRID = 16 * 16
"""Positions at the cut, behind one pooling of 32 × 32 pixels."""
PAPER4 = Level(channels=4, up_bits=16, down_bits=16)
"""The published budget and precision."""


def level(text: str) -> Level:
    return Level.model_validate(text)


def boxed(name: str, schedule: Schedule, **bottleneck: Any) -> None:
    """Register a row with a bottleneck at the cut, and its settings."""
    box = BottleneckConfig(**bottleneck)
    ROWS[name] = lambda config: config.replaced(bottleneck=box, schedule=schedule)


def fixed(name: str, at: str) -> None:
    """Register a row that stays at one level: with the bottleneck if the level keeps some channels only."""
    box = BottleneckConfig() if level(at).channels else None
    ROWS[name] = lambda config: config.replaced(bottleneck=box, schedule=Fixed(level=level(at)))


def phases(*parts: tuple[Level | str, float]) -> Deprune:
    """Return levels one after the other, each for a share of the epochs."""
    return Deprune(phases=tuple(Phase.model_validate({"level": at, "share": share}) for at, share in parts))


def row(name: str) -> Callable[[Make], Make]:
    """Register a function from the plain run's config to a row's config."""

    def add(make: Make) -> Make:
        ROWS[name] = make
        return make

    return add


def widths(config: SplitConfig) -> tuple[int, ...]:
    """Return the widths of the run's ResNet-9."""
    return tuple(config.model.args["widths"])


def network(config: SplitConfig, function: str, cut: str, **args: Any) -> SplitConfig:
    """The same run of another network, uncompressed."""
    model = ModelConfig(name=f"{NETWORKS}:{function}", args={"widths": widths(config), **args})
    return config.replaced(model=model, cut=cut)


# --- what it is compared with -----------------------------------------------------------------------

fixed(REFERENCE, "all·b32/b32")


@row(ALONE)
def _(config: SplitConfig) -> SplitConfig:
    """The device half with the best head of at most as many FLOPs again; what crosses its cut is not counted."""
    return network(config, "device_alone", "layer1", **DEVICE_ALONE)


DEVICE_ALONE: dict[str, Any] = {"head": [96, 160, 256], "separable": True}
"""Of the heads in docs/log.md the one with the best validation accuracy."""

fixed("fp16", "all·b16/b16")
fixed("8 bits", "all·b8/b8·zstd")
fixed("4 bits", "all·b4/b4·zstd")
fixed("2 bits", "all·b2/b2·ch·zstd")
fixed("fixed 4 channels, fp16", "c4·b16/b16")
fixed("fixed 8 channels, 4 bits", "c8·b4/b4·zstd")
fixed("fixed 4 channels, 4 bits", "c4·b4/b4·zstd")
fixed("fixed 2 channels, 4 bits", "c2·b4/b4·zstd")
fixed("top-k, 4 bits", "all·k256·b4/b4·zstd")
fixed("randomised top-k, 4 bits", "all·k256r10·b4/b4·zstd")


def learned(ratio: int, share: int, stride: int) -> None:
    """Register a bottleneck that is part of the network, at 8 bits; `share` of the channels is left on a grid 1/stride.

    `ratio` is of values.
    """

    def make(config: SplitConfig) -> SplitConfig:
        channels = widths(config)[1] // share
        thin = network(config, "learned_bottleneck", "encoder", channels=channels, stride=stride)
        return thin.replaced(schedule=Fixed(level=level("all·b8/b8·zstd")))

    ROWS[f"learned bottleneck, 1/{ratio} of the values"] = make


learned(16, share=4, stride=2)
learned(64, share=4, stride=4)
learned(512, share=8, stride=8)

# --- the paper's schedules --------------------------------------------------------------------------

boxed("bottleneck, fp32", Fixed(level=UNCOMPRESSED))
boxed("paper mode, fp32", Fixed(level=UNCOMPRESSED), mode="paper")
boxed("paper mode, fixed 4 channels, fp16", Fixed(level=PAPER4), mode="paper")
boxed("deprune in paper mode, fp16", phases((PAPER4, 15), (UNCOMPRESSED, 7)), mode="paper")
boxed("deprune, fp16", phases((PAPER4, 15), (UNCOMPRESSED, 7)))
boxed("deprune, 4 bits", phases(("c2·b4/b4·zstd", 5), ("all·b4/b4·zstd", 1)))

FAMILY = {"all·b4/b4·zstd": 1.0, "c16·b4/b4·zstd": 0.5, "c8·b4/b4·zstd": 1.0, "c4·b4/b4·zstd": 1.0}
"""Levels, and the peak of each one's learning rate in units of the base's."""


@row("prune")
def _(config: SplitConfig) -> SplitConfig:
    """The base has all the epochs of the other rows, each further level a sixth."""
    epochs, step = config.train.epochs, short(config)
    stages = [
        Stage(level=level(at), share=step if index else epochs, lr_scale=scale)
        for index, (at, scale) in enumerate(FAMILY.items())
    ]
    train = config.train.replaced(epochs=epochs + step * (len(FAMILY) - 1))
    return config.replaced(bottleneck=BottleneckConfig(), schedule=Prune(phases=tuple(stages)), train=train)


def short(config: SplitConfig) -> int:
    """Return a sixth of the epochs."""
    return max(1, config.train.epochs // 6)


def from_scratch(name: str, at: str, sixth: bool = False) -> None:
    """Register a level of the family that is trained by itself, for all epochs or for as many as by transfer."""

    def make(config: SplitConfig) -> SplitConfig:
        train = config.train.replaced(epochs=short(config)) if sixth else config.train
        return config.replaced(bottleneck=BottleneckConfig(), schedule=Fixed(level=level(at)), train=train)

    ROWS[name] = make


from_scratch("from scratch: c16·b4/b4·zstd", "c16·b4/b4·zstd")  # c8 and c4 are the fixed rows above
for _at in tuple(FAMILY)[1:]:
    from_scratch(f"from scratch, 1/6 of the epochs: {_at}", _at, sixth=True)

# --- ablations of the bottleneck: one change at a time, a line each ---------------------------------


def nested(*parts: tuple[dict[str, float], float]) -> Nested:
    """Return phases that draw from levels with these weights, each for a share of the epochs."""
    mixtures = [
        {"levels": [{"level": at, "weight": weight} for at, weight in levels.items()], "share": share}
        for levels, share in parts
    ]
    return Nested.model_validate({"phases": mixtures})


_TIGHT, _HALF, _LOOSE = "c2·b4/b4·zstd", "c8·b4/b4·zstd", "all·b4/b4·zstd"
_RANDOM = {"start": "random", "order": "learned"}
boxed("bottleneck at random, fp32", Fixed(level=UNCOMPRESSED), **_RANDOM)
boxed("deprune, 4 bits, bottleneck at random", phases((_TIGHT, 5), (_LOOSE, 1)), **_RANDOM)
boxed("deprune, 4 bits, learned order", phases((_TIGHT, 5), (_LOOSE, 1)), order="learned")
boxed("nested, 4 bits", nested(({_TIGHT: 8, _HALF: 1, _LOOSE: 1}, 11), ({_LOOSE: 1}, 1)))

# --- ours -------------------------------------------------------------------------------------------

boxed("plateau, 4 bits", Plateau(ladder=(level("c4·b4/b4·zstd"), level("c8·b4/b4·zstd"), level("all·b4/b4·zstd"))))


@row("byte budget, 1/100")
def _(config: SplitConfig) -> SplitConfig:
    """A hundredth of what fp32 sends."""
    images, values = config.data.train_rows or 0, widths(config)[1] * GRID
    ladder = tuple(level(f"{channels}·b4/b4·zstd") for channels in ("c1", "c2", "c4", "c8", "c16", "all"))
    budget = ByteBudget(ladder=ladder, megabytes=images * config.train.epochs * 8 * values / 100 / 1e6)
    return config.replaced(bottleneck=BottleneckConfig(), schedule=budget)


HEAD = LocalLoss(width=26)
"""A head of at most as many FLOPs as the device half."""


def freeze_and_cache(name: str, at: str, views: int, head: bool = True) -> None:
    """Register a row in which the device learns alone for all the epochs, and then the server from `views` passes."""

    def make(config: SplitConfig) -> SplitConfig:
        stage = Stage(level=level(at), share=1)
        train = config.train.replaced(local_loss=HEAD, epochs=2 * config.train.epochs)
        schedule = FreezeAndCache(learn=stage, send=stage, views=views, head=head)
        return config.replaced(bottleneck=BottleneckConfig(), schedule=schedule, train=train)

    ROWS[name] = make


freeze_and_cache("freeze and cache, 3 views", "all·b2/b2·zstd", views=3)
freeze_and_cache("freeze and cache, 1 thin view", "c8·b2/b2·zstd", views=1)


@row("freeze and cache, trained jointly first")
def _(config: SplitConfig) -> SplitConfig:
    """Half of the epochs together at 4 channels, then all of them on what 3 views have left with the server."""
    epochs = config.train.epochs
    learn = Stage(level=level("c4·b4/b4·zstd"), share=epochs // 2)
    send = Stage(level=level("c8·b2/b2·zstd"), share=epochs)
    schedule = FreezeAndCache(learn=learn, send=send, views=3)
    train = config.train.replaced(epochs=epochs + epochs // 2)
    return config.replaced(bottleneck=BottleneckConfig(), schedule=schedule, train=train)
