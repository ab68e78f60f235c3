"""`raysplit profile`: the cuts of a model and what they cost."""

from __future__ import annotations

import argparse
import json

from raysplit.cli.command import Verbs
from raysplit.errors import ConfigError


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("profile", help="list a model's cuts with their compute, memory and bytes")
    parser.add_argument("model", help="vgg11, a torchvision or timm name, or path.py:function")
    parser.add_argument("--input", default="3x32x32", metavar="CxHxW", help="shape of an image; default 3x32x32")
    parser.add_argument("--classes", type=int, default=10, help="default 10")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table or the JSON object."""
    shape = parse_shape(args.input)
    if args.classes < 1:
        raise ConfigError(f"--classes must be at least 1, got {args.classes}")

    from raysplit.config import ModelConfig
    from raysplit.models import build
    from raysplit.planner.cut_costs import costs_to_json, format_costs, price_cuts

    costs = price_cuts(build(ModelConfig(name=args.model), args.classes, shape), shape)
    text = "x".join(map(str, shape))
    print(json.dumps(costs_to_json(args.model, text, costs)) if args.json else format_costs(args.model, text, costs))


def parse_shape(text: str) -> tuple[int, int, int]:
    """Return an image's shape from its text; ConfigError for any other text.

    >>> parse_shape("3x224x224")
    (3, 224, 224)
    """
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--input '{text}' is not a shape; write channels x height x width, like 3x32x32")
    return int(parts[0]), int(parts[1]), int(parts[2])
