"""The settings of the traffic benchmark: the plain run, and which rows are trained around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from raysplit import recipes
from raysplit.config import DataConfig, SplitConfig
from traffic.rows import REFERENCE, ROWS, Make


@dataclass(frozen=True)
class Preset:
    """A table of its own."""

    result: str
    """Name of the result file."""
    base: Callable[[], SplitConfig]
    """The plain run."""
    rows: Mapping[str, Make]
    reference: str
    """The row that the others are compared with."""
    seeds: tuple[int, ...]
    notes: str

    def config(self, row: str, seed: int, data: str | None) -> SplitConfig:
        """Return the config of a row; `data` is the name of the data set, None for the base's own."""
        base = self.base()
        named = base.data if data is None else base.data.replaced(name=data)
        train = base.train.replaced(seed=seed, device="cpu", precision="fp32")
        return self.rows[row](base.replaced(data=named, train=train)).replaced(name=row)


def _full() -> SplitConfig:
    """45,000 training images, 5,000 for every choice that is made, all test images for the table."""
    base = recipes.get("cifar10_resnet9_uncompressed")
    return base.replaced(data=base.data.replaced(train_rows=45_000))


def _quick() -> SplitConfig:
    base = recipes.get("cifar10_resnet9_uncompressed")
    return base.replaced(
        data=DataConfig(name="mnist5k", train_rows=1_500, size=32, augment="crop"),
        model=base.model.replaced(args={"widths": [8, 32, 32, 32]}),
        train=base.train.replaced(epochs=6, batch_size=50),
    )


def _of_paper(name: str) -> Make:
    """Return a row with the settings of a recipe for VGG-11, which are all its own but for data and seed."""

    def make(config: SplitConfig) -> SplitConfig:
        found: SplitConfig = recipes.get(f"cifar10_vgg11_{name}")
        data = found.data.replaced(name=config.data.name, train_rows=config.data.train_rows)
        return found.replaced(data=data, train=found.train.replaced(seed=config.train.seed, device="cpu"))

    return make


_PAPER = {
    "paper: uncompressed": _of_paper("uncompressed_paper"),
    "paper: fixed 4 channels": _of_paper("fixed_paper"),
    "paper: deprune": _of_paper("deprune_paper_r1"),
}
_CIFAR = (
    "CIFAR-10 as Parquet files is recompressed as JPEG. The unsplit network and the uploads were not run: their "
    "accuracy is that of the reference, to which split training in fp32 is equal bit for bit "
    "(tests/train/test_loop.py). `seconds` are of one thread beside another run, on machines of different speed; "
    "epochs are exact. Each run is trained by the same command, at the commits and on the machines that it names."
)

PRESETS = {
    "quick": Preset(
        "split_traffic_quick", _quick, ROWS, REFERENCE, (0,), "1,500 images of mnist5k; a narrower network."
    ),
    "full": Preset("split_traffic", _full, ROWS, REFERENCE, (0, 1, 2), _CIFAR),
    "paper": Preset("split_traffic_paper", _full, _PAPER, "paper: uncompressed", (0,), _CIFAR),
}
