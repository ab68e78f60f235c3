"""`raysplit calibrate`: this machine's speed and memory, as a file for `raysplit plan`."""

from __future__ import annotations

import argparse

from raysplit.cli.command import Verbs


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("calibrate", help="measure this machine for `raysplit plan`")
    parser.add_argument("--name", default="here", help="the machine's name in plans; default here")
    parser.add_argument("-o", "--out", default="machine.yaml", metavar="FILE", help="default machine.yaml")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the file, and print it and its name."""
    import yaml

    from raysplit.planner.calibrate import calibrate
    from raysplit.utils.storage import write_file

    text = yaml.safe_dump(calibrate(args.name).model_dump(), sort_keys=False, allow_unicode=True, width=200)
    write_file(args.out, text.encode())
    print(f"{text}{args.out}")
