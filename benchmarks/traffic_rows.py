"""The rows of the traffic benchmark: what each trains, as full configs."""

from __future__ import annotations

from collections.abc import Callable

from raysplit.config import (
    UNCOMPRESSED,
    BottleneckConfig,
    ByteBudget,
    DataConfig,
    Deprune,
    Fixed,
    FreezeAndCache,
    Level,
    LocalLoss,
    ModelConfig,
    Phase,
    Plateau,
    Prune,
    Schedule,
    SplitConfig,
    Stage,
    TrainConfig,
)

PRESETS = {"quick": (1000, 8), "full": (10_000, 16)}
"""Training images and epochs."""
SEEDS = {"quick": [0], "full": [0, 1, 2]}
PAPER4 = Level(channels=4, up_bits=16, down_bits=16)
"""The published budget and precision."""

Make = Callable[[SplitConfig], SplitConfig]
ROWS: dict[str, Make] = {}


def base(data: str, preset: str, seed: int) -> SplitConfig:
    """The plain half-width VGG-11, cut after the second conv block, fp32 both ways.

    Learning rate and dropout are those with the best validation accuracy of this row (docs/log.md).
    """
    rows, epochs = PRESETS[preset]
    return SplitConfig(
        name="split_traffic",
        data=DataConfig(name=data, train_rows=rows, val_fraction=0.04, augment="crop_flip"),
        model=ModelConfig(name="vgg11", args={"width": 0.5, "dropout": 0.0}),
        cut="features.7",
        bottleneck=None,
        schedule=Fixed(level=UNCOMPRESSED),
        train=TrainConfig(
            epochs=epochs, batch_size=50, lr=0.02, precision="bf16", channels_last=True, seed=seed, device="cpu"
        ),
    )


def row(name: str) -> Callable[[Make], Make]:
    """Register a function from the base config to a row's config."""

    def add(make: Make) -> Make:
        ROWS[name] = make
        return make

    return add


def level(text: str) -> Level:
    return Level.model_validate(text)


def boxed(config: SplitConfig, schedule: Schedule) -> SplitConfig:
    """The same run with our bottleneck at the cut."""
    return config.replaced(bottleneck=BottleneckConfig(), schedule=schedule)


def fixed(name: str, at: str) -> None:
    """Register a row that stays at one level: with the bottleneck if the level keeps some channels only."""
    box = BottleneckConfig() if level(at).channels else None
    ROWS[name] = lambda config: config.replaced(bottleneck=box, schedule=Fixed(level=level(at)))


def paper(config: SplitConfig, schedule: Schedule) -> SplitConfig:
    """The published optimizer treatment: batch 16, constant rate 1e-2, no momentum, no augmentation."""
    return config.replaced(
        data=config.data.replaced(augment="none"),
        bottleneck=BottleneckConfig(mode="paper"),
        schedule=schedule,
        train=config.train.replaced(batch_size=16, lr=0.01, momentum=0.0, weight_decay=5e-4, lr_schedule="constant"),
    )


def deprune(tight: Level, loose: Level) -> Deprune:
    """Tight, then loose, in the paper's proportions: 15 epochs to 7."""
    return Deprune(phases=(Phase(level=tight, share=15), Phase(level=loose, share=7)))


def frozen(config: SplitConfig, at: str, views: int, epochs: int, head: bool = True) -> SplitConfig:
    """The device learns alone for `epochs` epochs; then `views` passes cross, and the server learns as long."""
    # A small net takes a higher rate: 0.05.
    learn, send = Stage(level=level(at), share=1, lr_scale=2.5), Stage(level=level(at), share=1)
    return config.replaced(
        bottleneck=BottleneckConfig(),
        schedule=FreezeAndCache(learn=learn, send=send, views=views, head=head),
        train=config.train.replaced(local_loss=LocalLoss(), epochs=2 * epochs),
    )


# --- baselines --------------------------------------------------------------------------------------

fixed("split fp32", "all·b32/b32")
fixed("split fp16", "all·b16/b16")
fixed("top-k, 4 bits", "all·k128·b4/b4·zstd")
fixed("randomised top-k, 4 bits", "all·k128r10·b4/b4·zstd")
fixed("fixed 4 channels, fp16", "c4·b16/b16")

# --- the paper --------------------------------------------------------------------------------------


@row("paper: uncompressed")
def _(config: SplitConfig) -> SplitConfig:
    return paper(config, Fixed(level=UNCOMPRESSED))


@row("paper: fixed 4 channels")
def _(config: SplitConfig) -> SplitConfig:
    return paper(config, Fixed(level=PAPER4))


@row("paper: deprune")
def _(config: SplitConfig) -> SplitConfig:
    return paper(config, deprune(PAPER4, UNCOMPRESSED))


# --- ours -------------------------------------------------------------------------------------------

fixed("4 bits", "all·b4/b4·zstd")
fixed("2 bits per channel", "all·b2/b2·ch·zstd")
fixed("2 bits per channel, error feedback", "all·b2/b2·ch·ef·zstd")
fixed("8 channels, 4 bits", "c8·b4/b4·zstd")


@row("deprune, fp16")
def _(config: SplitConfig) -> SplitConfig:
    return boxed(config, deprune(PAPER4, UNCOMPRESSED))


@row("deprune, 4 bits")
def _(config: SplitConfig) -> SplitConfig:
    return boxed(config, deprune(level("c8·b4/b4·zstd"), level("all·b4/b4·zstd")))


@row("plateau, 4 bits")
def _(config: SplitConfig) -> SplitConfig:
    return boxed(config, Plateau(ladder=(level("c8·b4/b4·zstd"), level("c16·b4/b4·zstd"), level("all·b4/b4·zstd"))))


@row("byte budget, 1/100")
def _(config: SplitConfig) -> SplitConfig:
    """A hundredth of what fp32 sends: 32,768 B an image and epoch at this cut."""
    images = config.data.train_rows or 0
    ladder = tuple(level(f"{channels}·b4/b4·zstd") for channels in ("c2", "c4", "c8", "c16", "c32", "all"))
    return boxed(config, ByteBudget(ladder=ladder, megabytes=images * config.train.epochs * 32_768 / 100 / 1e6))


@row("freeze and cache, 6 views")
def _(config: SplitConfig) -> SplitConfig:
    """Neither side works for more epochs than in the other rows, but one after the other."""
    return frozen(config, "all·b2/b2·zstd", 6, config.train.epochs)


@row("freeze and cache, 3 thin views")
def _(config: SplitConfig) -> SplitConfig:
    return frozen(config, "c28·b2/b2·zstd", 3, config.train.epochs)


@row("freeze and cache, 6 views, half the epochs")
def _(config: SplitConfig) -> SplitConfig:
    """Half of the epochs for each side: as many in all as the other rows have."""
    return frozen(config, "all·b2/b2·zstd", 6, config.train.epochs // 2)


@row("freeze and cache, 6 views, without the head")
def _(config: SplitConfig) -> SplitConfig:
    """What the server half reaches by itself."""
    return frozen(config, "all·b2/b2·zstd", 6, config.train.epochs, head=False)


# --- prune: one family by transfer, and its tighter levels from scratch --------------------------------

FAMILY = {
    "all·b4/b4·zstd": 1.0,
    "c32·b4/b4·zstd": 0.5,
    "c16·b4/b4·zstd": 0.5,
    "c12·b4/b4·zstd": 1.0,
    "c8·b4/b4·zstd": 1.0,
    "c6·b4/b4·zstd": 1.0,
    "c4·b4/b4·zstd": 1.0,
}
"""Levels, and the peak of each one's learning rate in units of the base's: by validation accuracy (docs/log.md)."""


@row("prune")
def _(config: SplitConfig) -> SplitConfig:
    """The base has all the epochs of the other rows, each further level an eighth."""
    epochs, step = config.train.epochs, max(1, config.train.epochs // 8)
    stages = [
        Stage(level=level(at), share=step if index else epochs, lr_scale=scale)
        for index, (at, scale) in enumerate(FAMILY.items())
    ]
    train = config.train.replaced(epochs=epochs + step * (len(FAMILY) - 1))
    return boxed(config, Prune(phases=tuple(stages))).replaced(train=train)


fixed("from scratch: c16·b4/b4·zstd", "c16·b4/b4·zstd")
fixed("from scratch: c4·b4/b4·zstd", "c4·b4/b4·zstd")
