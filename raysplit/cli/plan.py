"""`raysplit plan`: what each cut and level would cost on given hardware, before training."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

from raysplit.cli.command import Verbs
from raysplit.cli.data_settings import read_data
from raysplit.cli.profile import parse_shape
from raysplit.errors import ConfigError


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("plan", help="estimate each cut's latency, traffic and memory")
    parser.add_argument("model", help="vgg11, a torchvision or timm name, or path.py:function")
    parser.add_argument("--data", help="gives the images' shape and classes; default cifar10")
    parser.add_argument("--size", type=int, metavar="N", help="height and width that the data's images are resized to")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="data.KEY=VALUE", help="settings of it"
    )
    parser.add_argument("--input", metavar="CxHxW", help="shape of an image, like 3x224x224, in place of --data")
    parser.add_argument("--classes", type=int, metavar="N", help="in place of the data's; default with --input 10")
    parser.add_argument("--link", default="wifi", help="wifi, lte, ethernet, iot, or a YAML file; default wifi")
    parser.add_argument("--device", default="pi4", help="pi4, jetson, mcu, or a YAML file; default pi4")
    parser.add_argument("--server", default="server", help="server, or a YAML file; default server")
    parser.add_argument("--levels", nargs="+", metavar="LEVEL", help="like c4.b4/b4.zstd; default: fp32 and four below")
    parser.add_argument("--rate", type=float, metavar="R", help="images per second that every part must sustain")
    parser.add_argument(
        "--budget-ms", type=float, metavar="MS", help="recommend the loosest level with an answer within this time"
    )
    parser.add_argument("--batch", type=int, default=50, help="images of a training batch, default 50")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("-o", "--out", metavar="PAGE", help="also write an HTML page with a heat map")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table or the JSON object, and write the page."""
    if args.rate is not None and not args.rate > 0:
        raise ConfigError(f"--rate must be above 0, got {args.rate:g}")
    if args.budget_ms is not None and not args.budget_ms > 0:
        raise ConfigError(f"--budget-ms must be above 0, got {args.budget_ms:g}")
    for name in ("batch", "classes", "size"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise ConfigError(f"--{name} must be at least 1, got {value}")
    if args.input is not None and (given := next((one for one in ("data", "size", "set") if getattr(args, one)), None)):
        raise ConfigError(f"--input stands in for the data; leave out --{given}")

    from raysplit.hardware.link import get_link
    from raysplit.hardware.machine import get_machine
    from raysplit.hardware.platform import Platform
    from raysplit.utils.settings import parse
    from raysplit.wire.level import Level

    platform = Platform(get_link(args.link), get_machine(args.device), get_machine(args.server))
    levels = None if args.levels is None else [parse(Level, level, where="--levels") for level in args.levels]

    from raysplit.config import DataConfig, ModelConfig
    from raysplit.planner.render import format_page, format_table
    from raysplit.planner.static_plan import LEVELS, PlannedImages, make_static_plan
    from raysplit.planner.verdict import recommend, verdict
    from raysplit.utils.storage import write_file

    data = parse(DataConfig, {"name": args.data or "cifar10", "size": args.size}, where="--data and --size")
    data = read_data(data, args.set)
    if args.input is not None:
        images = PlannedImages("images", parse_shape(args.input), args.classes or 10)
    else:
        images = PlannedImages.of(data)
        images = replace(images, classes=args.classes or images.classes)
    plan = make_static_plan(
        ModelConfig(name=args.model),
        data,
        platform,
        levels or [Level(text) for text in LEVELS],
        args.batch,
        args.rate,
        images=images,
        budget_s=None if args.budget_ms is None else args.budget_ms / 1000,
    )
    if args.json:
        best = recommend(plan)
        named = None if best is None else {"cut": best.cut, "level": best.level, "total_s": best.total_s}
        print(json.dumps({"verdict": verdict(plan), "recommended": named, **plan.to_json()}, ensure_ascii=False))
    else:
        print(format_table(plan))
    if args.out:
        write_file(args.out, format_page(plan).encode())
