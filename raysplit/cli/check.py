"""`raysplit check`: problems in Serve configs and Kubernetes manifests, before they run."""

from __future__ import annotations

import argparse

from raysplit.cli.command import Verbs
from raysplit.errors import ConfigError


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("check", help="validate Serve configs and Kubernetes manifests")
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="YAML, - for stdin, or a folder for kubectl apply -k; relative paths start in this directory",
    )
    parser.add_argument("--previous", metavar="FILE", help="the manifests that run now: what changes is checked too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print a line for each problem, and `ok` for a file without one; ConfigError if there is a problem."""
    from raysplit.serving.check import check_file

    problems = 0
    for file in args.files:
        findings = check_file(file, args.previous)
        problems += len(findings)
        print(*(f"{file}: {finding}" for finding in findings or ("ok",)), sep="\n")
    if problems:
        raise ConfigError(f"{problems} {'problem' if problems == 1 else 'problems'} found")
