"""`raysplit export`: a half of a family as a program for machines without raysplit."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raysplit.cli.command import Verbs

if TYPE_CHECKING:
    from raysplit.family.export import TensorSpec


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("export", help="export one half of a family to torch.export or ONNX")
    parser.add_argument("family", metavar="FAMILY", help="the folder of a family or of a run, a path or URI")
    parser.add_argument("--half", choices=("device", "server"), default="device", help="default device")
    parser.add_argument("--level", help="like c4.b4/b4.zstd; default: the loosest")
    parser.add_argument("-o", "--out", default="device.pt2", metavar="FILE", help=".pt2 or .onnx; default device.pt2")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the program, and print its input and output."""
    from raysplit.family.export import export

    info = export(args.family, args.half, args.out, args.level)
    given, returned = _format_tensor(info.input), _format_tensor(info.output)
    print(f"{args.out}: {args.half} half at {info.level}, {given} → {returned}")


def _format_tensor(spec: TensorSpec) -> str:
    return f"{spec.dtype} ({', '.join(map(str, spec.shape))})"
