"""A problem found in a config file, and the paths that say where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One problem.

    >>> print(Finding("http_options.prot", "unknown key. Nearest: port."))
    http_options.prot: unknown key. Nearest: port.
    """

    path: str
    """Where, like `applications[0].deployments[1].num_replicas`; empty for the whole file."""
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def join_path(path: str, *parts: Any) -> str:
    """Return the path of what is below `path`, by keys and by the indices of list items.

    >>> join_path("", "applications", 0, "name")
    'applications[0].name'
    """
    for part in parts:
        if isinstance(part, int) and not isinstance(part, bool):
            path = f"{path}[{part}]"
        else:
            path = f"{path}.{part}" if path else str(part)
    return path


def as_mapping(value: Any) -> Mapping[Any, Any]:
    """Return a value if it is a mapping, and an empty one otherwise, which is reported elsewhere.

    >>> as_mapping({"a": 1}), as_mapping(None)
    ({'a': 1}, {})
    """
    return value if isinstance(value, Mapping) else {}


def list_mappings(value: Any) -> list[tuple[int, Mapping[Any, Any]]]:
    """Return the mappings in a list, with their indices; whatever else it holds is reported elsewhere.

    >>> list_mappings([{"a": 1}, None, {}])
    [(0, {'a': 1}), (2, {})]
    """
    items = value if isinstance(value, list) else []
    return [(index, item) for index, item in enumerate(items) if isinstance(item, Mapping)]
