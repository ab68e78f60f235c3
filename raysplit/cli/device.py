"""`raysplit device`: image or audio files classified by a device half here and a server half behind a URL."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from raysplit.cli.command import Verbs
from raysplit.errors import ConfigError

if TYPE_CHECKING:
    from raysplit.device.client import ClientPrediction


@dataclass(frozen=True)
class FilePrediction:
    """What the server answered for one file."""

    file: str
    prediction: ClientPrediction

    def to_json(self) -> dict[str, Any]:
        """Return file, classes, level, bytes and seconds as JSON data."""
        seconds = self.prediction.seconds
        return {
            "file": self.file,
            "classes": [named.model_dump() for named in self.prediction.images[0]],
            "level": self.prediction.level,
            "bytes_up": self.prediction.bytes_up,
            "seconds": asdict(seconds) | {"total": seconds.total},
            "within_target": self.prediction.within_target,
        }

    def __str__(self) -> str:
        one, seconds = self.prediction, self.prediction.seconds
        classes = ", ".join(f"{named.name} {named.probability:.1%}" for named in one.images[0])
        late = "" if one.within_target else " (late)"
        total, parts = _ms(seconds.total), (seconds.device, seconds.link, seconds.server)
        times = ", ".join(f"{name} {_ms(part)}" for name, part in zip(("device", "link", "server"), parts, strict=True))
        return f"{self.file}: {classes}  [{one.level}, {one.bytes_up} B, {total} ms{late}: {times}]"


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("device", help="classify image or audio files here, with the server half behind a URL")
    parser.add_argument("family", metavar="FAMILY", help="the folder of a family or of a run, a path or URI")
    parser.add_argument("images", nargs="+", metavar="FILE", help="images of any size, or recordings of any length")
    parser.add_argument(
        "--url", required=True, help="of the server, like http://127.0.0.1:8000, or with USER:PASSWORD@"
    )
    parser.add_argument(
        "--target-ms", type=float, default=200.0, metavar="MS", help="target from pixels to answer, default 200"
    )
    parser.add_argument("--key-env", metavar="NAME", help="environment variable that holds the server's API key")
    parser.add_argument(
        "--ca", metavar="FILE", help="PEM file with the certificates to trust for https, in place of this machine's"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the lines")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print a line for each image, or the JSON object."""
    key, target_s = _read_key(args.key_env), args.target_ms / 1000
    predictions = predict_files(args.family, args.url, args.images, target_s, key, args.ca)
    if args.json:
        print(json.dumps({"images": [one.to_json() for one in predictions]}, ensure_ascii=False))
    else:
        print(*predictions, sep="\n")


def predict_files(
    family: str, url: str, files: Sequence[str], target_s: float, api_key: str | None, ca: str | None
) -> list[FilePrediction]:
    """Send one request for each file and return the answers; raises what `DeviceClient` raises."""
    from raysplit.device.client import DeviceClient

    with DeviceClient(family, url, target_s=target_s, api_key=api_key, ca=ca) as client:
        return [FilePrediction(file, client.predict([file])) for file in files]


def _read_key(name: str | None) -> str | None:
    """Return the server's API key, if there is one."""
    return None if name is None else read_key(name, "the server's API key", ", or leave --key-env out")


def read_key(name: str, what: str, otherwise: str = "") -> str:
    """Return a key from the environment; ConfigError, which says `what` it is, if the variable is empty or not set."""
    key = os.environ.get(name)
    if not key:
        raise ConfigError(f"the environment variable {name} is not set; set it to {what}{otherwise}")
    return key


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"
