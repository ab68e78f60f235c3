"""The `raysplit` command. Each verb imports what it needs, once the arguments are parsed."""

from __future__ import annotations

import argparse

from raysplit.cli import calibrate, check, device, export, inspect, kuberay, plan, predict, profile, report
from raysplit.cli.command import run_command


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="raysplit",
        description="Split one neural network between a device and a server.",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for verb in (profile, plan, calibrate, report, inspect, predict, device, export, check, kuberay):
        verb.add_parser(verbs)
    args = parser.parse_args(argv)
    return run_command(lambda: args.run(args))
