"""The HTTP interface between a device and a server."""

from __future__ import annotations

from raysplit.wire.level import Level
from raysplit.wire.split_api import SplitResponse, level_from_header, level_to_header


def test_levels_survive_a_header():
    for text in ("c4·b4/b4", "c8·b32/b32·zstd"):
        level = str(Level.model_validate(text))
        header = level_to_header(level)
        assert header.isascii() and level_from_header(header) == level


def test_a_newer_server_may_add_keys():
    known = {
        "level": "c4·b4/b4",
        "images": [[{"name": "cat", "probability": 0.75}]],
        "seconds": {"queue": 0.001, "compute": 0.002},
    }
    newer = {
        "level": "c4·b4/b4",
        "images": [[{"name": "cat", "probability": 0.75, "index": 3}]],
        "seconds": {"queue": 0.001, "compute": 0.002, "decode": 0.1},
        "version": 2,
    }
    assert SplitResponse.model_validate(newer) == SplitResponse.model_validate(known)
    assert SplitResponse.model_validate(known).model_dump(mode="json") == known
