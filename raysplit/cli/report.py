"""`raysplit report`: runs compared on one page."""

from __future__ import annotations

import argparse

from raysplit.cli.command import Verbs


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("report", help="compare accuracy, traffic and time of runs on an HTML page")
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="a run's folder, a path or URI")
    parser.add_argument("-o", "--out", default="report.html", help="default report.html; pictures go beside it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the tables, write the page and its pictures, and print their names."""
    from raysplit.report import describe_devices, device_table, family_table, format_runs, read_run, write_report

    runs = [read_run(path) for path in args.runs]
    print(format_runs(runs))
    if families := family_table(runs):
        print(f"\n{families}")
    for one in runs:
        if devices := device_table(one):
            print(f"\n{one.name}: {len(one.epochs)} rounds, {describe_devices(one.config.devices)}\n{devices}")
    for path in write_report(args.runs, args.out):
        print(path)
