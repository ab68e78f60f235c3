"""`raysplit leak`: what images can be rebuilt from what crossed in a run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raysplit.cli.command import Verbs
from raysplit.errors import ConfigError
from raysplit.utils.text_table import DASH, align_table, number, percent

if TYPE_CHECKING:
    from raysplit.privacy.report import LeakReport

_COLUMNS = ("level", "accuracy", "bytes up\nper image", "PSNR, dB", "SSIM")


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("leak", help="rebuild images from the activations that cross, and show how well it works")
    parser.add_argument(
        "run_dir", metavar="RUN_DIR", help="the folder of a finished run or of its family, a path or URI"
    )
    parser.add_argument("--level", nargs="+", default=[], metavar="LEVEL", help="like c4.b4/b4.zstd; default: all")
    parser.add_argument(
        "--images", type=int, default=2000, metavar="N", help="training images that the attacker has; default 2000"
    )
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="its passes over them; default 20")
    parser.add_argument("--shown", type=int, default=8, metavar="N", help="images in the picture; default 8")
    parser.add_argument(
        "-o", "--out", default="leak", metavar="FOLDER", help="for leak.png and leak.json; default leak"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table, write the picture and the record, and print their names."""
    for name in ("images", "epochs", "shown"):
        if (value := getattr(args, name)) < 1:
            raise ConfigError(f"--{name} must be at least 1, got {value}")

    from raysplit.privacy.leak import measure_leak
    from raysplit.privacy.picture import draw_leak
    from raysplit.report.plots import png
    from raysplit.utils.progress import show_progress
    from raysplit.utils.storage import Folder

    show_progress()
    leak = measure_leak(args.run_dir, args.level, images=args.images, epochs=args.epochs, shown=args.shown)
    files = {"leak.png": png(draw_leak(leak)), "leak.json": leak.report.model_dump_json(indent=2).encode()}
    print(format_leak(leak.report))
    folder = Folder.at(args.out)
    folder.write_all(files)
    for name in files:
        print(f"{folder.location}/{name}")


def format_leak(report: LeakReport) -> str:
    """Return the scores as a table."""
    blind = ("nothing: the mean image", DASH, "0", f"{report.blind.psnr:.1f}", f"{report.blind.ssim:.2f}")
    body = [blind] + [
        (
            one.level,
            percent(one.accuracy),
            number(one.bytes_per_image),
            f"{one.similarity.psnr:.1f}",
            f"{one.similarity.ssim:.2f}",
        )
        for one in report.levels
    ]
    return align_table(_COLUMNS, body, 1)
