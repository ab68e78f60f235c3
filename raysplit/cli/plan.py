"""`raysplit plan`: what each cut and level would cost on given hardware, before training."""

from __future__ import annotations

import argparse
import json

from raysplit.cli.command import Verbs
from raysplit.errors import ConfigError


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("plan", help="estimate each cut's latency, traffic and memory")
    parser.add_argument("model", help="vgg11, a torchvision or timm name, or path.py:function")
    parser.add_argument("--data", default="cifar10", help="gives the images' shape and classes; default cifar10")
    parser.add_argument("--link", default="wifi", help="wifi, lte, ethernet, iot, or a YAML file; default wifi")
    parser.add_argument("--device", default="pi4", help="pi4, jetson, mcu, or a YAML file; default pi4")
    parser.add_argument("--server", default="server", help="server, or a YAML file; default server")
    parser.add_argument("--levels", nargs="+", metavar="LEVEL", help="like c4.b4/b4.zstd; default: fp32 and four below")
    parser.add_argument("--rate", type=float, metavar="R", help="images per second that every part must sustain")
    parser.add_argument("--batch", type=int, default=50, help="images of a training batch, default 50")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("-o", "--out", metavar="PAGE", help="also write an HTML page with a heat map")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table or the JSON object, and write the page."""
    if args.rate is not None and not args.rate > 0:
        raise ConfigError(f"--rate must be above 0, got {args.rate:g}")
    if args.batch < 1:
        raise ConfigError(f"--batch must be at least 1, got {args.batch}")

    from raysplit.hardware.link import get_link
    from raysplit.hardware.machine import get_machine
    from raysplit.hardware.platform import Platform
    from raysplit.utils.settings import parse
    from raysplit.wire.level import Level

    platform = Platform(get_link(args.link), get_machine(args.device), get_machine(args.server))
    levels = None if args.levels is None else [parse(Level, level, where="--levels") for level in args.levels]

    from raysplit.config import DataConfig, ModelConfig
    from raysplit.planner.render import format_page, format_table
    from raysplit.planner.static_plan import LEVELS, make_static_plan
    from raysplit.utils.storage import write_file

    plan = make_static_plan(
        ModelConfig(name=args.model),
        DataConfig(name=args.data),
        platform,
        levels or [Level(text) for text in LEVELS],
        args.batch,
        args.rate,
    )
    print(json.dumps(plan.to_json(), ensure_ascii=False) if args.json else format_table(plan))
    if args.out:
        write_file(args.out, format_page(plan).encode())
