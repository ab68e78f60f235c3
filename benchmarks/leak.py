"""How well images are rebuilt from what crosses, at each level and with noise, and what noise costs in accuracy.

    python benchmarks/leak.py                            # mnist5k, more and more noise; accuracy of three seeds
    python benchmarks/leak.py --data parquet:DIR         # CIFAR-10 as Parquet: a family of two levels, one seed

Each run is a small network that is cut early, where most is given away; the attack is that of `raysplit leak`. What is
done already is not done again; --minutes stops before a further run. It writes results/leak_NAME.json, and the picture
results/leak_NAME.png after each run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from base64 import b64decode, b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from meta import RESULTS, meta, save

from raysplit.config import BottleneckConfig, DataConfig, Fixed, ModelConfig, Prune, SplitConfig, Stage, TrainConfig
from raysplit.hardware.processor import fast_precision
from raysplit.privacy.leak import measure_leak
from raysplit.privacy.picture import draw_rows
from raysplit.report.plots import png
from raysplit.train.local import train_local
from raysplit.utils.text_table import percent

NOISE = (0, 50, 200)
SEEDS = (0, 1, 2)
FAST: dict[str, Any] = {"precision": fast_precision(), "channels_last": True}
IMAGES, EPOCHS = 1000, 10
"""Of the attacker."""


def mnist5k(noise: int, seed: int) -> SplitConfig:
    """All channels at 8 bits, with noise."""
    return SplitConfig(
        name=f"n{noise}_seed{seed}",
        data=DataConfig(name="mnist5k"),
        model=ModelConfig(name="resnet9", args={"widths": [8, 16, 32, 64]}),
        cut="layer1.conv",
        bottleneck=None,
        schedule=Fixed(level=f"all.b8/b8{f'.n{noise}' if noise else ''}"),
        train=TrainConfig(epochs=4, batch_size=50, lr=0.05, seed=seed, **FAST),
    )


def cifar10(data: str) -> SplitConfig:
    """A family of two levels: all channels, then one."""
    stages = Stage(level="all.b8/b8", share=2), Stage(level="c2.b4/b4", share=2, lr_scale=0.5)
    return SplitConfig(
        name="family",
        data=DataConfig(name=data, train_rows=2000, augment="crop_flip"),
        model=ModelConfig(name="resnet9", args={"widths": [8, 16, 32, 64]}),
        cut="layer1.conv",
        bottleneck=BottleneckConfig(),
        schedule=Prune(phases=stages),
        train=TrainConfig(epochs=4, batch_size=50, lr=0.05, **FAST),
    )


def measure(config: SplitConfig) -> list[dict[str, Any]]:
    """Train a run and return a row for each level of its family; images are rebuilt with the first seed alone."""
    with TemporaryDirectory() as path:
        summary = train_local(config, path)
        row = {"name": config.name, "seed": config.train.seed}
        if config.train.seed != SEEDS[0]:
            return [row | {"level": str(config.levels()[-1]), "accuracy": 100 * summary.accuracy}]
        leak = measure_leak(path, images=IMAGES, epochs=EPOCHS)
    blind = {"blind_psnr": leak.report.blind.psnr, "blind_ssim": leak.report.blind.ssim}
    return [
        row
        | {"level": level.level, "accuracy": 100 * level.accuracy, "bytes_per_image": level.bytes_per_image}
        | {"psnr": level.similarity.psnr, "ssim": level.similarity.ssim}
        | blind
        | _pack(rebuilt=images, originals=leak.originals)
        for level, images in zip(leak.report.levels, leak.rebuilt, strict=True)
    ]


def _pack(**images: torch.Tensor) -> dict[str, Any]:
    """Return uint8 images of one shape as JSON data."""
    shape = {"shape": list(next(iter(images.values())).shape)}
    return shape | {name: b64encode(value.numpy().tobytes()).decode() for name, value in images.items()}


def _unpack(row: dict[str, Any], name: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(b64decode(row[name])), dtype=torch.uint8).view(row["shape"])


def draw(name: str, rows: list[dict[str, Any]]) -> bytes:
    """Return the picture of the first seed's images."""
    attacked = [row for row in rows if "rebuilt" in row]
    lines = [("originals, which the attacker has not seen", _unpack(attacked[0], "originals"))]
    for row in attacked:
        accuracy = percent(statistics.mean(_accuracies(rows, row["level"])) / 100)
        scores = f"PSNR {row['psnr']:.1f} dB, SSIM {row['ssim']:.2f}; accuracy {accuracy}"
        lines.append((f"{row['level']}: {scores}", _unpack(row, "rebuilt")))
    return png(draw_rows(f"Rebuilt from what crosses: {name}", lines))


def format_rows(rows: list[dict[str, Any]]) -> str:
    """Return the results as Markdown: of the accuracy mean and standard deviation over seeds, the rest of the first."""
    lines = ["| level | test accuracy, % | bytes up per image | PSNR, dB | SSIM |", "|---|---|---|---|---|"]
    attacked = [row for row in rows if "rebuilt" in row]
    for row in attacked:
        accuracies = _accuracies(rows, row["level"])
        spread = f" ± {statistics.stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
        lines.append(
            f"| {row['level']} | {statistics.mean(accuracies):.1f}{spread} | {row['bytes_per_image']:,.0f} | "
            f"{row['psnr']:.1f} | {row['ssim']:.2f} |"
        )
    first = attacked[0]
    lines.append(f"| nothing: the mean image | – | 0 | {first['blind_psnr']:.1f} | {first['blind_ssim']:.2f} |")
    return "\n".join(lines)


def _accuracies(rows: list[dict[str, Any]], level: str) -> list[float]:
    return [row["accuracy"] for row in rows if row["level"] == level]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="parquet:DIR, the folder of CIFAR-10; default: mnist5k")
    parser.add_argument("--minutes", type=float, default=15.0, help="begin no further run after so many; default 15")
    args = parser.parse_args()
    start = time.monotonic()
    name = "cifar10" if args.data else "mnist5k"
    configs = [cifar10(args.data)] if args.data else [mnist5k(noise, seed) for seed in SEEDS for noise in NOISE]
    file = Path(RESULTS) / f"leak_{name}.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    for config in configs:
        if config.name in {row["name"] for row in rows}:
            continue
        if time.monotonic() - start > 60 * args.minutes:
            print("stopped; run it again to go on")
            return
        rows += measure(config)
        save(f"leak_{name}", {"meta": meta(sorted({row["seed"] for row in rows})), "rows": rows})
        (Path(RESULTS) / f"leak_{name}.png").write_bytes(draw(name, rows))
    print(format_rows(rows))


if __name__ == "__main__":
    main()
