"""What `raysplit device` does: ask for image files one by one, and print what was answered and what it took."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from raysplit.device.client import DeviceClient
from raysplit.errors import ConfigError


def ask(family: str, url: str, images: Sequence[str], target_s: float, key_env: str | None) -> list[dict[str, Any]]:
    """Return for each image file its likeliest classes, the level it crossed at, bytes and seconds.

    Raises ConfigError when the environment has no `key_env`, and what `DeviceClient` raises.
    """
    key = None if key_env is None else os.environ.get(key_env)
    if key_env is not None and not key:
        raise ConfigError(f"the environment has no {key_env}; set it to the server's API key, or leave --key-env out")
    found = []
    with DeviceClient(family, url, target_s=target_s, api_key=key) as client:
        for image in images:
            answer = client.predict([image])
            found.append(
                {
                    "file": image,
                    "classes": [named.model_dump() for named in answer.images[0]],
                    "level": answer.level,
                    "bytes_up": answer.bytes_up,
                    "seconds": asdict(answer.seconds) | {"total": answer.seconds.total},
                    "kept": answer.kept,
                }
            )
    return found


def as_lines(found: list[dict[str, Any]]) -> str:
    """Return a line for each image."""
    lines = []
    for image in found:
        seconds = image["seconds"]
        parts = ", ".join(f"{name} {1000 * seconds[name]:.1f}" for name in ("device", "link", "server"))
        says = ", ".join(f"{named['name']} {named['probability']:.1%}" for named in image["classes"])
        late = "" if image["kept"] else " (late)"
        crossed = f"{image['level']}, {image['bytes_up']} B"
        lines.append(f"{image['file']}: {says}  [{crossed}, {1000 * seconds['total']:.1f} ms{late}: {parts}]")
    return "\n".join(lines)
