"""A server's URL: where to connect, what goes before each path, and credentials that are never shown."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from raysplit.errors import ConfigError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port: what a connection leads to, and what may be sent the same credentials."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, parts: SplitResult) -> Origin:
        """Return the origin of a URL; ValueError if it has none."""
        if parts.scheme not in _PORTS or not parts.hostname or " " in parts.hostname:
            raise ValueError("not an http or https URL with a host")
        return cls(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])


@dataclass(frozen=True)
class ServerUrl:
    """A server's URL in parts."""

    shown: str
    """The URL without credentials, for messages."""
    origin: Origin
    prefix: str
    """What goes before the path of each request; does not end with a slash."""
    authorization: str | None = field(repr=False)
    """Value of the header `Authorization`, from USER:PASSWORD@ in the URL."""

    @classmethod
    def parse(cls, url: str) -> ServerUrl:
        """Raises ConfigError for anything but an http or https URL.

        >>> url = ServerUrl.parse("https://me:secret@example.com/models/")
        >>> url.shown, url.origin.port, url.prefix, url.authorization
        ('https://example.com/models/', 443, '/models', 'Basic bWU6c2VjcmV0')
        """
        shown = hide_credentials(url)
        try:
            parts = urlsplit(url)
            origin = Origin.of(parts)
        except ValueError:
            raise ConfigError(f"'{shown}' is not a server's URL; write it like http://127.0.0.1:8000") from None
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return cls(shown, origin, parts.path.rstrip("/"), authorization)


def hide_credentials(url: str) -> str:
    """Return a URL, which may be invalid, without what stands before its last `@`.

    >>> hide_credentials("http://me:sec/ret@server:8000"), hide_credentials("server:8000")
    ('http://server:8000', 'server:8000')
    """
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
