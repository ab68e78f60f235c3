"""A device's own states on its own disk: one that is started anew goes on from them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_KEPT = 3


class StateStore:
    """The newest states that a device told the server of, by their sha256.

    >>> store = StateStore("states")
    >>> store.find(store.keep(b"weights")), store.find("0" * 64)
    (b'weights', None)
    """

    def __init__(self, folder: str | Path):
        self._folder = Path(folder).expanduser()

    def keep(self, state: bytes) -> str:
        """Write a state and return its sha256; older ones make room."""
        sha256 = hashlib.sha256(state).hexdigest()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(sha256)
        part = path.with_suffix(f".{os.getpid()}")
        with open(part, "wb") as file:
            file.write(state)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        for old in self._files()[:-_KEPT]:
            old.unlink(missing_ok=True)
        return sha256

    def find(self, sha256: str) -> bytes | None:
        """Return a state; None where it is not there, or damaged."""
        path = self._path(sha256)
        if path not in self._files():  # which no text that is no sha256 names
            return None
        state = path.read_bytes()
        return state if hashlib.sha256(state).hexdigest() == sha256 else None

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.state"

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.state"), key=lambda path: path.stat().st_mtime_ns)
