"""Opening a WebSocket to a gateway by its URL."""

from __future__ import annotations

import logging
import socket
import ssl

from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from raysplit.device.server_url import ServerUrl
from raysplit.device.tls import create_context, describe_tls_error
from raysplit.errors import ConfigError, LinkError, RequestError
from raysplit.wire.gateway_api import JOIN_PATH, KEY_HEADER, KEY_SCHEME, NAME_HEADER, PIECE_BYTES, TEXT_BYTES

_log = logging.getLogger(__name__)
_HERE = ("localhost", "127.0.0.1", "::1")
_OPEN_S, _CLOSE_S = 20.0, 2.0
_SILENT_MS = 40_000
"""As long as pings wait for their answer."""
_NO_TIME_LIMIT = {"x-request-timeout-seconds": "0"}
"""Ray Serve would end the connection after `request_timeout_s`, which is meant for requests."""


class Dialler:
    """Opens connections to one gateway under one name.

    Args:
        url: like https://gateway.example:8000.
        ca: a PEM file with the authorities to trust in place of this machine's.
    """

    def __init__(self, url: str, name: str, key: str, ca: str | None = None):
        """Raises ConfigError for an invalid URL, key or certificate file."""
        self._url = ServerUrl.parse(url)
        if self._url.authorization:
            raise ConfigError(f"a device shows its key to {self._url.shown}; leave USER:PASSWORD@ out of the URL")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError("the key of --key-env is not one that `raysplit key` printed; copy it again")
        origin = self._url.origin
        secure = origin.scheme == "https"
        if ca is not None and not secure:
            raise ConfigError(f"--ca is for https, but the URL is '{self._url.shown}'; leave it out or write https://")
        if not secure and origin.host not in _HERE:
            _log.warning("%s does not encrypt: the key and all messages can be read on the way", self._url.shown)
        self._tls = create_context(ca) if secure else None
        self._known = False
        """Whether there has been a gateway at the URL."""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        self._address = f"{'wss' if secure else 'ws'}://{host}:{origin.port}{self._url.prefix}{JOIN_PATH}"
        self._headers = {NAME_HEADER: name, KEY_HEADER: f"{KEY_SCHEME} {key}"} | _NO_TIME_LIMIT

    def __call__(self) -> ClientConnection:
        """Connect; LinkError where that may pass, RequestError where it will not."""
        shown = self._url.shown
        try:
            connection = connect(
                self._address,
                ssl=self._tls,
                additional_headers=self._headers,
                compression=None,
                open_timeout=_OPEN_S,
                close_timeout=_CLOSE_S,
                max_size=max(TEXT_BYTES, PIECE_BYTES),
            )
        except ssl.SSLCertVerificationError as err:
            raise RequestError(f"{shown} {describe_tls_error(err)}", 403) from None
        except ssl.SSLError as err:
            raise LinkError(f"{shown} {describe_tls_error(err)}") from None
        except InvalidStatus as err:
            status = err.response.status_code
            # While Serve starts again, it answers 404.
            if status >= 500 or status == 429 or self._known:
                raise LinkError(f"{shown} answers {status}") from None
            raise RequestError(
                f"{shown} answers {status} at {JOIN_PATH}; give the URL of a gateway (`serve run "
                "serve_configs/gateway.yaml`)",
                status,
            ) from None
        except (InvalidHandshake, OSError) as err:
            raise LinkError(f"{shown} cannot be reached ({err or type(err).__name__})") from None
        self._known = True
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # else a send to a network that is gone blocks for minutes
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_MS)
        return connection
