"""A device that joins a gateway, from its arguments to the end of its run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from raysplit.join.dial import Dialler
from raysplit.join.link import Link
from raysplit.join.progress import Progress
from raysplit.join.setup import build_side
from raysplit.join.store import StateStore
from raysplit.join.worker import Worker

_LARGEST_CALL = 1 << 30
"""Bytes: the weights or the state of a device half come in one."""


def join(url: str, data: str, name: str, key: str, ca: str | None, code: Path, states: Path) -> str:
    """Train in the next run of a gateway, until it ends; return why it let the device go.

    `code` is the folder for a user's own files, `states` the one in which the device keeps its checkpoints. Raises
    ConfigError for invalid arguments, RequestError where the gateway refuses the device.
    """
    dial = Dialler(url, name, key, ca)
    worker = Worker(partial(build_side, data=data, code=code), StateStore(states), Progress(name))
    link = Link(dial, _LARGEST_CALL)
    try:
        return worker.work(link)
    finally:
        link.close()
