"""Which node of a Ray cluster each half of a run is on."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from typing import Any

from raysplit.config import RayConfig

_DIGITS = 8
"""Of a node's id: enough to find it in `ray list nodes`."""


def name_node(node_id: str) -> str:
    """Return the name of this process's node, by Ray's id of it: the host's, and the id's first digits."""
    return _name(platform.node(), node_id)


def describe_shared_node(config: RayConfig, device: str, server: str, nodes: Iterable[Mapping[str, Any]]) -> str | None:
    """Return a line for a run whose halves share a node although another offers a resource for one of them; else None.

    `device` and `server` are the names of the halves' nodes, `nodes` is what `ray.nodes()` returns.
    """
    if device != server:
        return None
    for half, resource in (("device", config.device_resource), ("server", config.server_resource)):
        for node in nodes:
            name = _name(str(node["NodeManagerHostname"]), str(node["NodeID"]))
            if node["Alive"] and name != server and node["Resources"].get(resource, 0) > 0:
                return (
                    f"both halves run on {server}, so their messages cross no link, although {name} offers "
                    f"'{resource}' for the {half} half: to part them, start one node with "
                    f"'{config.device_resource}' alone and the other with '{config.server_resource}' alone"
                )
    return None


def _name(host: str, node_id: str) -> str:
    return f"{host} ({node_id[:_DIGITS]})"
