"""What crosses between a device and a server at inference, around the message: paths, headers and the answer.

`POST /v1/split` takes one activation message (`raysplit.wire.message`) and returns the JSON of a `SplitAnswer`;
an error is `{"error": text}` with a status of 400 or more.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

SPLIT_PATH, FAMILY_PATH = "/v1/split", "/v1/family"
LEVEL_HEADER, FAMILY_HEADER = "X-Raysplit-Level", "X-Raysplit-Family"
"""A level as it prints, plain dots for middle ones (`c4.b4/b4.zstd`), and the id of the family that a device has."""
KEY_HEADER = "X-API-Key"


class _Wire(BaseModel):
    """A part of an answer; keys that we do not know are passed over, so that a server may be newer."""

    model_config = ConfigDict(frozen=True)


class ClassProbability(_Wire):
    """A class and how likely it is."""

    name: str
    probability: float


class ServerSeconds(_Wire):
    """Where the time of a request went on the server."""

    queue: float
    """Behind other messages in the replica."""
    compute: float
    """From bytes to probabilities."""


class SplitAnswer(_Wire):
    """What a server half says of a message."""

    level: str
    images: tuple[tuple[ClassProbability, ...], ...]
    """Of each image the likeliest classes, likeliest first."""
    seconds: ServerSeconds


def ascii_level(level: str) -> str:
    """Return a level as a header can carry it."""
    return level.replace("·", ".")
