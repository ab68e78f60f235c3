"""The `raysplit` command. Each verb imports what it needs, once the arguments are parsed."""

from __future__ import annotations

import argparse

from raysplit.cli import (
    calibrate,
    check,
    compose,
    device,
    export,
    image,
    inspect,
    join,
    key,
    kuberay,
    leak,
    plan,
    predict,
    profile,
    recipes,
    report,
)
from raysplit.cli.command import run_command


class _Version(argparse.Action):
    """Prints the version, which takes longer to find than all else here."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from raysplit.utils.version import find_version

        print(f"raysplit {find_version()}")
        parser.exit()


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="raysplit",
        description="Split one neural network between a device and a server.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for verb in (
        recipes,
        profile,
        plan,
        calibrate,
        report,
        leak,
        inspect,
        predict,
        device,
        join,
        key,
        export,
        check,
        image,
        compose,
        kuberay,
    ):
        verb.add_parser(verbs)
    args = parser.parse_args(argv)
    return run_command(lambda: args.run(args))
