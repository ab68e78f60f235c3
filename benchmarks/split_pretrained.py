"""Split training from a base that was pretrained without labels, its device half frozen and not.

    python benchmarks/split_pretrained.py --data parquet:DIR --preset quick|full [--minutes N] [--work DIR]
        [--only ROW …] [--seeds N …] [--table]

from the repository's root. The base has learnt by which quarter turn each of the training images was rotated (Gidaris,
Singh, Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018, arXiv 1803.07728),
on the device or wherever the images are: its training is not counted. It is trained once, with seed 0, and so is one
for `device alone`. The rows are then trained with the labels of some of the images. All else is as in split_traffic.py;
the result is benchmarks/results/split_pretrained.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from split_traffic import make_parser, work_through
from traffic.presets import PRESETS, Preset
from traffic.rows import ALONE, REFERENCE, ROWS, Make, level
from traffic.runs import TimeIsUp, run_folder, train

from raysplit.config import DataConfig, Fixed, SplitConfig
from raysplit.data.export import export
from raysplit.data.images import ImageSet, load
from raysplit.family.export import export as export_weights

LABELLED = {"quick": 400, "full": 5_000}
"""Training images with a label."""
LOOPS = 3
"""How many times the epochs of the traffic benchmark the rows have, since their epochs are so short."""
FOUR_BITS = Fixed(level=level("all·b4/b4·zstd"))


class Rotated:
    """Each image of a split at the four quarter turns: a map-style data set of (image, turns)."""

    def __init__(self, images: ImageSet):
        self._images = images.images

    def __len__(self) -> int:
        return 4 * len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, turns = divmod(index, 4)
        return torch.rot90(self._images[image], turns, (1, 2)), turns


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0], "~/raysplit_benchmarks/split_pretrained")
    parser.add_argument("--preset", choices=LABELLED, default="quick")
    args = parser.parse_args()
    work, until = Path(args.work).expanduser() / args.preset, time.monotonic() + 60 * args.minutes
    base, alone = pretraining(args, work)
    if not args.table:
        torch.set_num_threads(1)
        write_rotated(base, args, work)
        try:
            for config in (base, alone):
                write_weights(config, work, until)
        except TimeIsUp:
            print("the time is up: the same command goes on at the last epoch")
            return
    notes = f"{PRESETS[args.preset].notes} The base was trained on rotations of all training images, without labels."
    result = "split_pretrained" if args.preset == "full" else "split_pretrained_quick"
    seeds = PRESETS[args.preset].seeds
    preset = Preset(result, fine_tuning(args), make_rows(work), REFERENCE, seeds, notes)
    work_through(preset, work, args, parser, until)


def pretraining(args: argparse.Namespace, work: Path) -> tuple[SplitConfig, SplitConfig]:
    """Return the configs of the base and of the network for the device alone, both on rotations."""
    plain = PRESETS[args.preset].config(REFERENCE, 0, args.data)
    data = DataConfig(name=f"parquet:{work / 'rotated'}", val_fraction=0.02, augment="crop")
    # Four times the images: a fourth of the epochs.
    train = plain.train.replaced(epochs=max(1, plain.train.epochs // 4))
    base = plain.replaced(name="base", data=data, train=train)
    return base, ROWS[ALONE](base).replaced(name="base for the device alone")


def write_rotated(base: SplitConfig, args: argparse.Namespace, work: Path) -> None:
    """Write the rotated training images, and validation images as their test split, unless they are there."""
    source = PRESETS[args.preset].config(REFERENCE, 0, args.data).data
    folder = Path(base.data.name.partition(":")[2])
    sets = DataConfig.model_validate((Rotated(load(source, "train")), Rotated(load(source, "val"))))
    for split in ("test", "train"):
        if not (folder / f"{split}.parquet").exists():
            export(sets, split, folder / f"{split}.parquet")


def write_weights(config: SplitConfig, work: Path, until: float) -> None:
    """Train a base, or go on or wait for it, and write its weights, unless they are there; raises TimeIsUp."""
    file, place = weights_file(config.name, work), run_folder(work, config)
    if not file.exists():
        while train(config, place, until) is None:
            time.sleep(5)  # another process trains it
        export_weights(str(place), "whole", str(file))


def weights_file(name: str, work: Path) -> Path:
    return work / f"{name.replace(' ', '_')}.safetensors"


def fine_tuning(args: argparse.Namespace) -> Callable[[], SplitConfig]:
    """Return what makes the plain run on the labelled images."""

    def make() -> SplitConfig:
        base = PRESETS[args.preset].base()
        train = base.train.replaced(epochs=LOOPS * base.train.epochs)
        return base.replaced(data=base.data.replaced(train_rows=LABELLED[args.preset]), train=train)

    return make


def make_rows(work: Path) -> dict[str, Make]:
    """Return the rows: from random weights and from the base, the device half trained, frozen, and sent once."""

    def plain(config: SplitConfig) -> SplitConfig:
        return config

    def alone(config: SplitConfig) -> SplitConfig:
        return started(ROWS[ALONE](config), "base for the device alone")

    def from_base(config: SplitConfig) -> SplitConfig:
        return started(config, "base")

    def started(config: SplitConfig, name: str) -> SplitConfig:
        weights = str(weights_file(name, work))
        return config.replaced(model=config.model.replaced(weights=weights))

    def at_four_bits(config: SplitConfig) -> SplitConfig:
        return from_base(config).replaced(schedule=FOUR_BITS)

    def frozen(config: SplitConfig) -> SplitConfig:
        return config.replaced(train=config.train.replaced(device_half="frozen"), schedule=FOUR_BITS)

    def sent_once(config: SplitConfig) -> SplitConfig:
        return frozen(from_base(config)).replaced(data=config.data.replaced(augment="none"))

    return {
        REFERENCE: from_base,
        ALONE: alone,
        "from random weights, fp32": plain,
        "4 bits": at_four_bits,
        "device half frozen, 4 bits": lambda config: frozen(from_base(config)),
        "device half frozen, 4 bits, sent once": sent_once,
        "device half frozen at random weights, 4 bits": frozen,
    }


if __name__ == "__main__":
    main()
