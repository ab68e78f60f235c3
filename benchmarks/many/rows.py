"""The rows of the benchmark of many devices: what each trains, as a config of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raysplit.config import (
    BottleneckConfig,
    DevicesConfig,
    Fixed,
    FreezeAndCache,
    Level,
    LocalLoss,
    SplitConfig,
    Stage,
)

COUNT = 10
SHARDS = ("dirichlet(0.1)", "iid", "dirichlet(0.5)")
"""In the order in which they are trained."""
CENTRAL = "central"
V1 = "SplitFed v1"
FOUR_BITS = Level.model_validate("all·b4/b4·zstd")
TWO_BITS = Level.model_validate("all·b2/b2·zstd")
Change = Callable[[SplitConfig], SplitConfig]


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    method: str
    mode: str
    """`devices.mode`, `freeze_and_cache`, or `central`: one device that has all the data."""
    shards: str
    change: Change
    """From the plain run of one device to the row's own."""
    killed: int = 0
    """How many devices are killed in each round."""

    @property
    def name(self) -> str:
        """Its name on the command line and in the result."""
        return self.method if self.mode == CENTRAL else f"{self.method}, {self.shards}"

    @property
    def devices(self) -> int:
        """How many devices train."""
        return 1 if self.mode == CENTRAL else COUNT


@dataclass(frozen=True)
class Preset:
    """A table of its own."""

    result: str
    """Name of the result file."""
    base: SplitConfig
    """The plain run of one device."""
    seeds: tuple[int, ...]
    notes: str

    def config(self, row: Row, seed: int, data: str | None) -> SplitConfig:
        """Return the config of a row; `data` is the name of the data set, None for the base's own."""
        named = self.base.data if data is None else self.base.data.replaced(name=data)
        train = self.base.train.replaced(seed=seed)
        return row.change(self.base.replaced(data=named, train=train)).replaced(name=row.name)


def _many(mode: str, shards: str, **devices: object) -> Change:
    """Return a change to ten devices."""
    config = DevicesConfig.model_validate({"count": COUNT, "mode": mode, "shards": shards} | devices)
    return lambda base: base.replaced(devices=config)


def _merged(shards: str, **devices: object) -> Change:
    """Return `merged` at 4 bits: each device takes equally many steps, so that every one of the server sees all."""

    def change(base: SplitConfig) -> SplitConfig:
        steps = {"round_steps": (base.data.train_rows or 0) // COUNT // base.train.batch_size} | devices
        return _many("merged", shards, **steps)(base).replaced(schedule=Fixed(level=FOUR_BITS))

    return change


def _freeze_and_cache(shards: str) -> Change:
    """Return freeze and cache: the devices learn alone for a sixth of the rounds, then two passes of codes cross."""

    def change(base: SplitConfig) -> SplitConfig:
        learn, send = (Stage(level=TWO_BITS, share=share) for share in (1, 5))
        return _many("merged", shards)(base).replaced(
            bottleneck=BottleneckConfig(),
            schedule=FreezeAndCache(learn=learn, send=send, views=2, head=False),
            train=base.train.replaced(local_loss=LocalLoss(width=26), epochs=base.train.epochs * 3 // 2),
        )

    return change


def _often(change: Change, times: int = 5, device_lr: float | None = None) -> Change:
    """Return a change to rounds that are shorter, and as many more: devices hold the same half again more often."""

    def shorter(base: SplitConfig) -> SplitConfig:
        config = change(base)
        steps = (base.data.train_rows or 0) // COUNT // base.train.batch_size // times
        return config.replaced(
            devices=config.devices.replaced(round_steps=max(1, steps)),
            train=config.train.replaced(epochs=times * config.train.epochs, device_lr=device_lr),
        )

    return shorter


def _rows() -> dict[str, Row]:
    found = [Row(CENTRAL, CENTRAL, "iid", lambda base: base)]
    for shards in SHARDS:
        found += [
            Row("FedAvg", "fedavg", shards, _many("fedavg", shards)),
            Row("merged, 4 bits", "merged", shards, _merged(shards)),
            Row("freeze and cache", "freeze_and_cache", shards, _freeze_and_cache(shards)),
            Row("SplitFed v2", "splitfed_v2", shards, _many("splitfed_v2", shards)),
            Row("relay", "relay", shards, _many("relay", shards)),
            Row(V1, "splitfed_v1", shards, _many("splitfed_v1", shards)),
        ]
        if shards == SHARDS[0]:
            merged = _often(_merged(shards), device_lr=0.003)
            found += [
                Row("FedAvg, short rounds", "fedavg", shards, _often(_many("fedavg", shards))),
                Row("merged, 4 bits, short rounds", "merged", shards, merged),
            ]
        if shards != SHARDS[-1]:
            lossy = _merged(shards, missing="skip")
            found.append(Row("merged, 4 bits, 2 of 10 killed in each round", "merged", shards, lossy, killed=2))
    return {row.name: row for row in found}


ROWS = _rows()
