"""Checking a gateway: its args, its keys, its one replica, and that keys do not cross in the clear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from raysplit.errors import ConfigError, nearest
from raysplit.serving.args import GATEWAY, GatewayArgs
from raysplit.serving.check.finding import Finding, join_path, list_mappings
from raysplit.serving.check.hosts import is_loopback
from raysplit.serving.check.strict import validate
from raysplit.serving.gateway.keys import Keys
from raysplit.wire.gateway_api import APPLICATION

IMPORT_PATH = "raysplit.serving.gateway:build"
_LEASE_S = 15.0
"""A job is heard of every 10 seconds."""


def check_gateway(app: Mapping[Any, Any], path: str, config: Mapping[Any, Any], local: bool) -> Iterator[Finding]:
    """Check an application that is a gateway, at `path` of `config`; read its keys if `local`.

    >>> app = {"name": "gate", "args": {"keys": "keys.txt"}}
    >>> config = {"http_options": {"host": "127.0.0.1"}, "applications": [app]}
    >>> print(*check_gateway(app, "applications[0]", config, local=False))
    applications[0].name: is 'gate', and jobs look for the gateway under 'gateway'
    """
    findings: list[Finding] = []
    args = validate(GatewayArgs, app.get("args", {}), join_path(path, "args"), findings)
    yield from findings
    if (name := app.get("name", "default")) != APPLICATION:
        yield Finding(join_path(path, "name"), f"is '{name}', and jobs look for the gateway under '{APPLICATION}'")
    if args is not None and local:
        try:
            Keys(args.keys)
        except ConfigError as err:
            yield Finding(join_path(path, "args", "keys"), str(err).removeprefix("keys: "))
    if args is not None and args.lease_s < _LEASE_S:
        yield Finding(
            join_path(path, "args", "lease_s"),
            f"{args.lease_s:g}: a job is heard of every 10 s, so that its devices would be given away; raise it to "
            f"{_LEASE_S:g} or more",
        )
    yield from _check_deployments(app, path)
    http = config.get("http_options", {})
    if local and isinstance(http, Mapping):  # in a cluster of Kubernetes, an Ingress ends TLS
        yield from _check_tls(http)


def _check_deployments(app: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    for index, deployment in list_mappings(app.get("deployments")):
        where = join_path(path, "deployments", index)
        if isinstance(name := deployment.get("name"), str) and name != GATEWAY:
            hint = nearest(name, [GATEWAY])
            yield Finding(join_path(where, "name"), f"the application has no deployment '{name}'. {hint}")
        replicas = deployment.get("num_replicas")
        if replicas not in (None, 1) or deployment.get("autoscaling_config") is not None:
            key = "autoscaling_config" if replicas in (None, 1) else "num_replicas"
            yield Finding(
                join_path(where, key), "a gateway holds its devices' calls in one replica; set num_replicas to 1"
            )


def _check_tls(http: Mapping[Any, Any]) -> Iterator[Finding]:
    host = http.get("host", "0.0.0.0")
    if isinstance(host, str) and not is_loopback(host) and not http.get("ssl_certfile"):
        yield Finding(
            "http_options.ssl_certfile",
            f"is not set, and http_options.host is {host}: the keys of devices would cross in the clear. Set it and "
            "ssl_keyfile, or http_options.host: 127.0.0.1 behind a proxy that does TLS",
        )
