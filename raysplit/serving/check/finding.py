"""A fault in a config file: where, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One fault; prints as `path.to.key: message`."""

    path: str
    """`applications[0].deployments[1].num_replicas`; empty: the whole file."""
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


def at(path: str, part: Any) -> str:
    """Return the path of a key, or of an item by its number, below `path`."""
    if isinstance(part, int) and not isinstance(part, bool):
        return f"{path}[{part}]"
    return f"{path}.{part}" if path else str(part)


def mapping(value: Any) -> Mapping[Any, Any]:
    """Return a value that should be a mapping; an empty one where it is not, which is a finding of its own."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[tuple[int, Mapping[Any, Any]]]:
    """Return the mappings in what should be a list of them, with their numbers."""
    items = value if isinstance(value, list) else []
    return [(index, item) for index, item in enumerate(items) if isinstance(item, Mapping)]
