"""The HTTP interface between a device and a server at inference: paths, headers and the response.

`POST /v1/split` takes one activation message (`raysplit.wire.message`) and returns a `SplitResponse` as JSON. An error
is `{"error": text}` with a status of 400 or more.

    >>> SplitResponse.model_validate_json(
    ...     '{"level": "c4·b4/b4", "images": [[{"name": "cat", "probability": 0.75}]],'
    ...     ' "seconds": {"queue": 0.001, "compute": 0.004}}'
    ... ).images[0][0].name
    'cat'
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

SPLIT_PATH, FAMILY_PATH = "/v1/split", "/v1/family"
LEVEL_HEADER, FAMILY_HEADER = "X-Raysplit-Level", "X-Raysplit-Family"
"""The level of the message, in ASCII (`c4.b4/b4.zstd`), and the id of the family that the device has."""
CHUNKS_HEADER = "X-Raysplit-Chunks"
"""Of recordings: how many samples of the message are chunks of each, like `3,1`; each recording gets one answer."""
KEY_HEADER = "X-API-Key"


class _ResponseModel(BaseModel):
    """Part of a response. Unknown keys are ignored, so that a server may be newer than its devices."""

    model_config = ConfigDict(frozen=True)


class ClassProbability(_ResponseModel):
    """A class and its probability."""

    name: str
    probability: float


class ServerTiming(_ResponseModel):
    """Where the time of a request went on the server, in seconds."""

    queue: float
    """Waiting for other messages in the replica."""
    compute: float
    """From the message's bytes to probabilities."""


class SplitResponse(_ResponseModel):
    """What a server half predicts for the images or recordings of a message."""

    level: str
    images: tuple[tuple[ClassProbability, ...], ...]
    """The most likely classes of each image or recording, most likely first."""
    seconds: ServerTiming


def level_to_header(level: str) -> str:
    """Return a level as written in a header, in ASCII.

    >>> level_to_header("c4·b4/b4·zstd")
    'c4.b4/b4.zstd'
    """
    return level.replace("·", ".")


def level_from_header(text: str) -> str:
    """Return the level that a header names, as levels print.

    >>> level_from_header("c4.b4/b4.zstd")
    'c4·b4/b4·zstd'
    """
    return text.replace(".", "·")
