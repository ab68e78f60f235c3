"""`raysplit key`: the keys of the devices that may join a gateway."""

from __future__ import annotations

import argparse
import os
import re
import secrets
from pathlib import Path

from raysplit.cli.command import Verbs
from raysplit.errors import ConfigError


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("key", help="make or revoke the key with which a device joins a gateway")
    parser.add_argument("file", metavar="FILE", help="the gateway's keys; it is made where there is none")
    parser.add_argument("name", metavar="NAME", help="of the device, as in `raysplit join --name`")
    parser.add_argument(
        "--revoke", action="store_true", help="take the device's key away: a running gateway lets it go"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print a new key, once: the file holds its hash alone. Or revoke one."""
    from raysplit.wire.gateway_api import NAME_PATTERN, hash_key

    if not re.fullmatch(NAME_PATTERN, args.name):
        raise ConfigError(f"'{args.name}' is not a device's name; use letters, digits, '.', '_' and '-', at most 64")
    path = Path(args.file).expanduser()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    others = [line for line in lines if line.split("#")[0].split()[:1] != [args.name]]
    if args.revoke:
        if len(others) == len(lines):
            raise ConfigError(f"'{path}' has no key of '{args.name}'; check the name")
        _write(path, others)
        return
    key = secrets.token_urlsafe(32)
    _write(path, [*others, f"{args.name} {hash_key(key)}"])
    print(key)


def _write(path: Path, lines: list[str]) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.touch(mode=0o600)
    part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    part.replace(path)
