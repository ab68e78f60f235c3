"""Who may ask: clients that send the key, or, where there is none, those of the machine that is asked.

Without a key the address of the client decides. It is `client` of the ASGI scope, which uvicorn in Ray Serve's
proxy takes from the TCP connection; the kernel lets nothing from other machines in under a loopback address. What
hides the client behind another address is not trusted:

- Headers that proxies add (`X-Forwarded-For`, `Via` …): whoever sends one is not local. uvicorn puts the address of
  `X-Forwarded-For` into the scope when a local proxy sends it, and anyone can write that header. A proxy on this
  machine that adds no header at all cannot be told from a local client: give it a key. So does `kubectl
  port-forward` and an SSH tunnel, whose users may log in anyway.
- HAProxy in place of Serve's proxy (`RAY_SERVE_ENABLE_HA_PROXY=1`): it asks replicas on its node from a loopback
  address for everyone, and adds no header. There the application does not start without a key.
- No address, as on a Unix socket, or one that is no IP address.

"This machine" is the node whose proxy is asked, wherever the replica runs. `server` of the scope says where the proxy
listens, not who asks, and is not looked at.
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
_PROXIED = ("forwarded", "via", "x-forwarded-", "x-real-ip", "x-envoy-")
"""How headers begin that tell of a proxy between the client and this one."""


class Authenticator:
    """Lets requests in, or says why not."""

    def __init__(self, access: Access, environ: Mapping[str, str]):
        """Read the key; ConfigError when there is none where `access` names one, or no client could be told."""
        self._anyone = access.anyone
        self._key = None if access.api_key_env is None else _key(access.api_key_env, environ)
        if self._key is None and not self._anyone and environ.get(_HA_PROXY) == "1":
            raise ConfigError(
                f"access: with {_HA_PROXY}=1 clients of this machine cannot be told from others; set "
                "access.api_key_env, or access.anyone to answer them all"
            )

    def check(self, scope: Mapping[str, Any]) -> None:
        """Raise RequestError for a request, by its ASGI scope: 401 without the right key, 403 for a stranger."""
        if self._key is None:
            if not self._anyone and not _is_local(scope):
                raise RequestError(
                    "only clients of this machine are answered; to answer others, set access.api_key_env or "
                    "access.anyone in the application's args",
                    403,
                )
            return
        sent = [value for name, value in scope["headers"] if name.lower() == KEY_HEADER.lower().encode()]
        if not sent:
            raise RequestError(f"a key is needed; send it in the header {KEY_HEADER}", 401)
        if len(sent) > 1 or not hmac.compare_digest(sent[0], self._key):
            raise RequestError(f"the key in the header {KEY_HEADER} is not the right one", 401)


def _key(name: str, environ: Mapping[str, str]) -> bytes:
    key = environ.get(name)
    if not key:
        state = "is not set" if key is None else "is empty"
        raise ConfigError(
            f"access.api_key_env: the environment variable '{name}' {state} where replicas run; put the key into it"
        )
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise ConfigError(
            f"access.api_key_env: the environment variable '{name}' holds what no header can carry; use printable "
            "ASCII without spaces or a newline around it"
        )
    return key.encode()


def _is_local(scope: Mapping[str, Any]) -> bool:
    client = scope.get("client")
    if not client or _proxied(name for name, _ in scope["headers"]):
        return False
    try:
        address = ip_address(client[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _proxied(names: Iterable[bytes]) -> bool:
    return any(name.lower().decode("latin-1").startswith(_PROXIED) for name in names)
