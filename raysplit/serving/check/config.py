"""A Serve config, all of it: Serve's schema without leniency, then what Serve accepts and a user regrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from raysplit.serving.check.apps import check_app
from raysplit.serving.check.finding import Finding, at, mappings
from raysplit.serving.check.imports import check_import
from raysplit.serving.check.strict import validated


def check_config(config: Any, path: str = "", here: bool = True) -> list[Finding]:
    """Return what is wrong with a Serve config; `here`: it is for this machine, which has its bundles and modules."""
    findings: list[Finding] = []
    validated(ServeDeploySchema, config, path, findings)
    if not isinstance(config, Mapping):
        return findings
    apps, where = mappings(config.get("applications")), at(path, "applications")
    ours = [*_twins(apps, "name", where), *_twins(apps, "route_prefix", where), *_misplaced(apps, where)]
    if ours:  # they say which application; Serve's say it again, of the whole
        findings = [finding for finding in findings if finding.path not in (path, where)]
    findings += [*ours, *_timeout(config, path)]
    for index, app in apps:
        findings += _route(app, at(where, index))
        findings += _named_twice(app, at(where, index))
        findings += check_import(app, at(where, index), here)
        findings += check_app(app, at(where, index), config, here)
    return findings


def _twins(apps: list[tuple[int, Mapping[Any, Any]]], key: str, path: str) -> Iterator[Finding]:
    default = ServeApplicationSchema.model_fields[key].default
    first: dict[str, int] = {}
    for index, app in apps:
        value = app.get(key, default)
        if isinstance(value, str) and first.setdefault(value, index) != index:
            origin = "" if key in app else ", which stands where there is none,"
            text = f"'{value}'{origin} is also that of applications[{first[value]}]; each has its own"
            yield Finding(at(at(path, index), key), text)


def _misplaced(apps: list[tuple[int, Mapping[Any, Any]]], path: str) -> Iterator[Finding]:
    for index, app in apps:
        for key in ("host", "port"):
            if key in app:
                yield Finding(at(at(path, index), key), "is one for all applications; it belongs in http_options")


def _timeout(config: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    http = config.get("http_options", {})
    if config.get("proxy_location") == "Disabled" or not isinstance(http, Mapping):
        return
    where, limit = at(path, "http_options.request_timeout_s"), http.get("request_timeout_s")
    if limit is None:
        yield Finding(where, "is missing, and Serve's default is to wait for ever; set it, in seconds")
    elif isinstance(limit, int | float) and limit <= 0:
        yield Finding(where, f"must be more than 0 (got {limit:g})")


def _route(app: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    route, where = app.get("route_prefix"), at(path, "route_prefix")
    if not isinstance(route, str):
        return
    if not route.startswith("/"):
        yield Finding(where, f"must start with '/'. Nearest: /{route}")
    elif route.endswith("/") and route != "/":
        yield Finding(where, f"must not end with '/'. Nearest: {route.rstrip('/') or '/'}")
    elif "{" in route or "}" in route:
        yield Finding(where, "must be plain, without { and }")


def _named_twice(app: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    first: dict[Any, int] = {}
    for index, row in mappings(app.get("deployments")):
        name = row.get("name")
        if isinstance(name, str) and first.setdefault(name, index) != index:
            where = at(at(at(path, "deployments"), index), "name")
            yield Finding(where, f"'{name}' has a row already, deployments[{first[name]}]; write them as one")
