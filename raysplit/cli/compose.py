"""`raysplit compose`: an ensemble in containers on one machine."""

from __future__ import annotations

import argparse

from raysplit.cli.command import Verbs


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("compose", help="write a compose file that serves an ensemble on one machine")
    parser.add_argument("bundle", metavar="BUNDLE", help="the ensemble's folder, a path or URI")
    parser.add_argument("-o", "--out", required=True, metavar="DIR", help="a folder for compose.yaml and podman.sh")
    parser.add_argument(
        "--images",
        default="localhost/raysplit",
        metavar="PREFIX",
        help="what the names of the images begin with, as in `raysplit image --name`; default localhost/raysplit",
    )
    parser.add_argument(
        "--per", choices=("submodel", "device"), default="submodel", help="a container per sub-model, or per device"
    )
    parser.add_argument("--name", default="ensemble", help="of the project and its network; default ensemble")
    parser.add_argument("--port", type=int, default=8000, help="of this machine, on 127.0.0.1; default 8000")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the folder and list its files."""
    from raysplit.containers.compose import write_compose
    from raysplit.containers.parts import plan_application
    from raysplit.ensemble.bundle import load_ensemble

    app = plan_application(load_ensemble(args.bundle), args.images, args.name, args.per)
    print(*(f"{args.out}/{name}" for name in write_compose(app, args.out, args.port)), sep="\n")
