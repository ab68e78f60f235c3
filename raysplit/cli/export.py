"""`raysplit export`: a half of a network, or the whole, for machines without raysplit."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raysplit.cli.command import Verbs

if TYPE_CHECKING:
    from raysplit.family.export import TensorSpec


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("export", help="export a network or one half of it: torch.export, ONNX, safetensors")
    parser.add_argument("family", metavar="FAMILY", help="the folder of a family or of a run, a path or URI")
    parser.add_argument("--half", choices=("device", "server", "whole"), default="device", help="default device")
    parser.add_argument("--level", help="like c4.b4/b4.zstd; default: the loosest")
    parser.add_argument(
        "-o",
        "--out",
        default="device.pt2",
        metavar="FILE",
        help=".pt2, .onnx, or .safetensors for the whole; default device.pt2",
    )
    parser.add_argument("--opset", type=int, metavar="N", help="of ONNX; default: torch's own")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the program, and print its input and output."""
    from raysplit.family.export import export

    info = export(args.family, args.half, args.out, args.level, args.opset)
    given, returned = _format_tensor(info.input), _format_tensor(info.output)
    part = args.half if args.half == "whole" else f"{args.half} half"
    print(f"{args.out}: {part} at {info.level}, {given} → {returned}")


def _format_tensor(spec: TensorSpec) -> str:
    return f"{spec.dtype} ({', '.join(map(str, spec.shape))})"
