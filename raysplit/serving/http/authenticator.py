"""Which clients are answered: those that send the key or, without a key, those on the same machine.

Without a key the address of the client decides. It is `client` in the ASGI scope, which uvicorn in Ray Serve's proxy
takes from the TCP connection; the kernel drops packets from other machines that claim a loopback address. Nothing that
hides the client behind another address is trusted:

- Headers that proxies add (`X-Forwarded-For`, `Via` …): a request with one of them is not local. uvicorn puts the
  address in `X-Forwarded-For` into the scope if a local proxy sends it, and anyone can write that header. A proxy on
  this machine that adds no header at all cannot be distinguished from a local client: use a key. The same goes for
  `kubectl port-forward` and SSH tunnels, whose users could log in anyway.
- HAProxy in place of Serve's proxy (`RAY_SERVE_ENABLE_HA_PROXY=1`): it forwards every request to the replicas on its
  node from a loopback address, without a header. The application then refuses to start without a key.
- No address, as on a Unix socket, or one that is not an IP address.

"This machine" is the node whose proxy received the request, wherever the replica runs. `server` in the scope is where
the proxy listens, not who sent the request, and is ignored.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from raysplit.errors import ConfigError, RequestError
from raysplit.serving.args import Access
from raysplit.wire.split_api import KEY_HEADER

_HA_PROXY = "RAY_SERVE_ENABLE_HA_PROXY"
_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-", "x-real-ip", "x-envoy-")
"""Prefixes of headers that show that a request came through a proxy."""


class Authenticator:
    """Decides whether a request is answered.

    >>> scope = {"type": "http", "client": ("10.0.0.7", 5000), "headers": [(b"x-api-key", b"swordfish")]}
    >>> Authenticator(Access(api_key_env="KEY"), {"KEY": "swordfish"}).check(scope)
    >>> Authenticator(Access(), {}).check(scope)
    Traceback (most recent call last):
    ...
    raysplit.errors.RequestError: only clients on this machine are answered; set access.api_key_env or access.anyone \
in the application's args to answer others
    """

    def __init__(self, access: Access, environ: Mapping[str, str]):
        """Read the key from the environment variables of the process.

        Raises ConfigError if `access` names a variable that holds no usable key, or if local clients cannot be
        recognized.
        """
        self._anyone = access.anyone
        self._key = None if access.api_key_env is None else _read_key(access.api_key_env, environ)
        if self._key is None and not self._anyone and environ.get(_HA_PROXY) == "1":
            raise ConfigError(
                f"access: with {_HA_PROXY}=1, clients on this machine cannot be distinguished from others; set "
                "access.api_key_env, or access.anyone to answer everyone"
            )

    def check(self, scope: Mapping[str, Any]) -> None:
        """Refuse a request, given its ASGI scope, by raising RequestError.

        The status is 401 if the key is missing or wrong, 403 for a client on another machine if there is no key.
        """
        if self._key is None:
            if not self._anyone and not _is_local(scope):
                raise RequestError(
                    "only clients on this machine are answered; set access.api_key_env or access.anyone in the "
                    "application's args to answer others",
                    403,
                )
            return
        sent = [value for name, value in scope["headers"] if name.lower() == KEY_HEADER.lower().encode()]
        if not sent:
            raise RequestError(f"an API key is required; send it in the header {KEY_HEADER}", 401)
        if len(sent) > 1 or not hmac.compare_digest(sent[0], self._key):
            raise RequestError(f"the API key in the header {KEY_HEADER} is wrong", 401)


def _read_key(name: str, environ: Mapping[str, str]) -> bytes:
    key = environ.get(name)
    if not key:
        state = "is not set" if key is None else "is empty"
        raise ConfigError(
            f"access.api_key_env: the environment variable '{name}' {state} on the node of a replica; set it to the key"
        )
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise ConfigError(
            f"access.api_key_env: the environment variable '{name}' holds a key that a header cannot carry; use "
            "printable ASCII without spaces or newlines around it"
        )
    return key.encode()


def _is_local(scope: Mapping[str, Any]) -> bool:
    client = scope.get("client")
    if not client or _came_through_proxy(name for name, _ in scope["headers"]):
        return False
    try:
        address = ip_address(client[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _came_through_proxy(header_names: Iterable[bytes]) -> bool:
    return any(name.lower().decode("latin-1").startswith(_PROXY_HEADERS) for name in header_names)
