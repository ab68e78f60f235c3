"""`raysplit join`: this machine as a device of a run, outside the cluster."""

from __future__ import annotations

import argparse
import os
import platform
import re
from pathlib import Path

from raysplit.cli.command import Verbs
from raysplit.cli.device import read_key
from raysplit.errors import ConfigError


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("join", help="train a device half here, for a run behind a gateway's URL")
    parser.add_argument("url", metavar="URL", help="of the gateway, like https://gateway.example:8000")
    parser.add_argument(
        "--data", required=True, metavar="KIND:PATH", help="this device's own: folder:PATH, parquet:PATH"
    )
    parser.add_argument("--key-env", required=True, metavar="NAME", help="environment variable that holds its key")
    parser.add_argument("--name", default=platform.node(), help="of this device; default: the host's")
    parser.add_argument(
        "--ca", metavar="FILE", help="PEM file with the certificates to trust for https, in place of this machine's"
    )
    parser.add_argument(
        "--code", default=".", metavar="DIR", help="folder that holds a model or codec file of your own; default ."
    )
    parser.add_argument(
        "--states", metavar="DIR", help="where it keeps its checkpoints; default ~/.cache/raysplit/joined"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train until the run ends."""
    from raysplit.wire.gateway_api import NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, args.name):
        raise ConfigError(
            f"--name '{args.name}' is not a device's name; use letters, digits, '.', '_' and '-', at most 64"
        )
    key = read_key(args.key_env, "the device's key")
    states = args.states or os.path.join("~", ".cache", "raysplit", "joined", args.name)

    from raysplit.join.device import join
    from raysplit.utils.progress import show_progress

    show_progress()
    reason = join(args.url, args.data, args.name, key, args.ca, Path(args.code).expanduser(), Path(states).expanduser())
    print(f"{args.name}: {reason}")
