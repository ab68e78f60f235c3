"""Checking a whole Serve config: Serve's own schema, strictly, and what Serve accepts but users regret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from raysplit.serving.check.apps import check_app
from raysplit.serving.check.finding import Finding, join_path, list_mappings
from raysplit.serving.check.imports import check_import
from raysplit.serving.check.strict import validate

_OWN = "raysplit."


def check_config(config: Any, path: str = "", local: bool = True) -> list[Finding]:
    """Return the problems found in a Serve config.

    `local` says that the config is for this machine, which then has its modules and bundles.

    >>> for finding in check_config({"http_options": {"prot": 80, "request_timeout_s": 9}, "applications": []}):
    ...     print(finding)
    http_options.prot: unknown key. Nearest: port, host, root_path.
    """
    findings: list[Finding] = []
    validate(ServeDeploySchema, config, path, findings)
    if not isinstance(config, Mapping):
        return findings
    apps, where = list_mappings(config.get("applications")), join_path(path, "applications")
    own = [*_find_duplicates(apps, "name", where), *_find_duplicates(apps, "route_prefix", where)]
    own += _check_misplaced_keys(apps, where)
    if own:  # they name the application, while Serve repeats them for the config as a whole
        findings = [finding for finding in findings if finding.path not in (path, where)]
    findings += [*own, *_check_request_timeout(config, path)]
    for index, app in apps:
        app_path = join_path(where, index)
        findings += _check_route_prefix(app, app_path)
        findings += _find_duplicate_deployments(app, app_path)
        findings += check_import(app, app_path, local)
        findings += check_app(app, app_path, config, local)
    return findings


def _find_duplicates(apps: list[tuple[int, Mapping[Any, Any]]], key: str, path: str) -> Iterator[Finding]:
    default = ServeApplicationSchema.model_fields[key].default
    first: dict[str, int] = {}
    for index, app in apps:
        value = app.get(key, default)
        if isinstance(value, str) and first.setdefault(value, index) != index:
            origin = "" if key in app else ", the default,"
            text = f"'{value}'{origin} is already taken by applications[{first[value]}]; use another one"
            yield Finding(join_path(path, index, key), text)


def _check_misplaced_keys(apps: list[tuple[int, Mapping[Any, Any]]], path: str) -> Iterator[Finding]:
    for index, app in apps:
        for key in ("host", "port"):
            if key in app:
                yield Finding(join_path(path, index, key), "is the same for all applications; set it in http_options")


def _check_request_timeout(config: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    http = config.get("http_options", {})
    if config.get("proxy_location") == "Disabled" or not isinstance(http, Mapping):
        return
    where, timeout_s = join_path(path, "http_options", "request_timeout_s"), http.get("request_timeout_s")
    apps = [app for _, app in list_mappings(config.get("applications"))]
    if timeout_s is None and not any(str(app.get("import_path")).startswith(_OWN) for app in apps):
        return  # what runs for how long, their authors know
    elif timeout_s is None:
        yield Finding(where, "is missing, and Serve then waits forever; set it, in seconds")
    elif isinstance(timeout_s, int | float) and timeout_s <= 0:
        yield Finding(where, f"must be more than 0 (got {timeout_s:g})")


def _check_route_prefix(app: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    route, where = app.get("route_prefix"), join_path(path, "route_prefix")
    if not isinstance(route, str):
        return
    if not route.startswith("/"):
        yield Finding(where, f"must start with '/'. Nearest: /{route}")
    elif route.endswith("/") and route != "/":
        yield Finding(where, f"must not end with '/'. Nearest: {route.rstrip('/') or '/'}")
    elif "{" in route or "}" in route:
        yield Finding(where, "must not contain { or }")


def _find_duplicate_deployments(app: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, deployment in list_mappings(app.get("deployments")):
        name = deployment.get("name")
        if isinstance(name, str) and first.setdefault(name, index) != index:
            where = join_path(path, "deployments", index, "name")
            yield Finding(where, f"'{name}' is already configured in deployments[{first[name]}]; merge the two")
