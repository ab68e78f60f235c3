"""Which devices may join: a file with each device's name and the SHA-256 of its key, read again when it changes."""

from __future__ import annotations

import hmac
import logging
import re
from pathlib import Path

from raysplit.errors import ConfigError, RequestError
from raysplit.wire.gateway_api import NAME_PATTERN, hash_key

_LINE = re.compile(rf"({NAME_PATTERN})\s+([0-9a-f]{{64}})")
_NOBODY = hash_key("")
_log = logging.getLogger(__name__)


def read_keys(text: str, where: str) -> dict[str, str]:
    """Return the hash of each device's key, by its name, from lines `NAME SHA256`; `#` begins a comment.

    Raises ConfigError, which names the line, for any other line and for a name that is there twice.

    >>> read_keys("# the flat\\nkitchen " + hash_key("swordfish"), "keys.txt")["kitchen"][:8]
    'b9f195c5'
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        match = _LINE.fullmatch(content)
        if match is None:
            raise ConfigError(f"{where}, line {number}: not a name and a SHA-256; write it by `raysplit key FILE NAME`")
        if match[1] in found:
            raise ConfigError(f"{where}, line {number}: '{match[1]}' is there twice; leave one out")
        found[match[1]] = match[2]
    return found


class Keys:
    """The keys of a file.

    A device is admitted by its own key under its own name. A file that changes is read again by `refresh`; one that
    cannot be read then leaves the keys as they were.
    """

    def __init__(self, path: str):
        """Raises ConfigError for a file that cannot be read, or that is malformed."""
        self._path = Path(path).expanduser()
        self._hashes = self._read()
        self._seen = self._stamp()

    def check(self, name: str, key: str) -> None:
        """Raise RequestError (401) unless `key` is that of the device `name`; compared in constant time."""
        known = self._hashes.get(name)
        if not hmac.compare_digest(hash_key(key), known or _NOBODY) or known is None:
            raise RequestError(
                f"the key is not that of a device '{name}' that is known here; check --name and --key-env, or add it "
                "by `raysplit key`",
                401,
            )

    def knows(self, name: str, key_hash: str) -> bool:
        """Return whether a device that was admitted with a key of this hash still is."""
        return hmac.compare_digest(self._hashes.get(name, _NOBODY), key_hash)

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether the keys have."""
        if (stamp := self._stamp()) == self._seen:
            return False
        self._seen, before = stamp, self._hashes
        try:
            self._hashes = self._read()
        except ConfigError as err:
            _log.warning(f"{err}. The keys are as they were")
        return self._hashes != before

    def _read(self) -> dict[str, str]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as err:
            reason = err.strerror if isinstance(err, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"keys: '{self._path}' cannot be read ({reason}); write it by `raysplit key`") from None
        return read_keys(text, str(self._path))

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size
