"""Checking raysplit's own applications: their args and bundles, names of deployments, and settings that must agree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ray.serve.schema import HTTPOptionsSchema

from raysplit.ensemble.bundle import load_ensemble
from raysplit.errors import BundleError, ConfigError, nearest
from raysplit.family.bundle import load_family
from raysplit.serving.args import INGRESS, SERVER, SUBMODEL_PREFIX, AppArgs, EnsembleArgs, SplitArgs
from raysplit.serving.check.finding import Finding, as_mapping, join_path, list_mappings
from raysplit.serving.check.gateway import IMPORT_PATH, check_gateway
from raysplit.serving.check.hosts import is_loopback
from raysplit.serving.check.imports import normalize_import_path
from raysplit.serving.check.strict import validate
from raysplit.utils.bundle import MANIFEST
from raysplit.utils.storage import Folder


@dataclass(frozen=True)
class _Builder:
    """A function that builds one of raysplit's applications."""

    args: type[AppArgs]
    ingress: str
    """Name of the deployment that speaks HTTP and forms batches."""
    location: Literal["bundle", "family"]
    """Name of the argument with the bundle's location."""


_BUILDERS = {
    "raysplit.serving.ensemble:build": _Builder(EnsembleArgs, INGRESS, "bundle"),
    "raysplit.serving.split:build": _Builder(SplitArgs, SERVER, "family"),
}


def check_app(app: Mapping[Any, Any], path: str, config: Mapping[Any, Any], local: bool) -> Iterator[Finding]:
    """Check an application, at `path` of `config`, if it is one of raysplit's; open its bundle if `local`.

    >>> app = {"import_path": "raysplit.serving.split:build", "args": {"famly": "bundles/digits"}}
    >>> for finding in check_app(app, "applications[0]", {"applications": [app]}, local=False):
    ...     print(finding)
    applications[0].args.famly: unknown key. Nearest: family, name.
    applications[0].args.family: is required
    """
    import_path = app.get("import_path")
    if isinstance(import_path, str) and normalize_import_path(import_path) == IMPORT_PATH:
        if isinstance(app.get("args", {}), Mapping):
            yield from check_gateway(app, path, config, local)
        return
    builder = _BUILDERS.get(normalize_import_path(import_path)) if isinstance(import_path, str) else None
    if builder is None or not isinstance(app.get("args", {}), Mapping):  # reported by the schema
        return
    findings: list[Finding] = []
    args_path = join_path(path, "args")
    args = validate(builder.args, app.get("args", {}), args_path, findings)
    yield from findings
    if args is None:
        return
    submodel_count: int | None = None
    if local and not _is_brought(builder, args, app):
        try:
            submodel_count = _open_bundle(builder, args)
        except _UnusableBundle as err:
            yield Finding(join_path(args_path, builder.location), str(err))
    yield from _check_deployment_names(builder, args, submodel_count, app, path)
    yield from _check_ongoing_requests(builder, args, app, path)
    http = config.get("http_options", {})
    if isinstance(http, Mapping) and config.get("proxy_location") != "Disabled":
        yield from _check_branch_timeout(args, http, args_path)
        yield from _check_access(args, app, http, args_path)


def _is_brought(builder: _Builder, args: AppArgs, app: Mapping[Any, Any]) -> bool:
    """Whether a bundle is in the archive of `runtime_env.working_dir`, in which relative paths start."""
    location: str = getattr(args, builder.location)
    is_relative = "://" not in location and not Path(location).is_absolute()
    return is_relative and bool(as_mapping(app.get("runtime_env")).get("working_dir"))


class _UnusableBundle(Exception):
    """Why a bundle cannot be served."""


def _open_bundle(builder: _Builder, args: AppArgs) -> int | None:
    """Return the number of sub-models in an ensemble's bundle; a remote bundle is not opened."""
    location: str = getattr(args, builder.location)
    if "://" in location and not location.startswith("file://"):
        return None
    try:
        path = Folder.at(location).path
        if not Path(path).exists():
            origin = "" if location in (path, f"file://{path}") else f" ('{location}' from the working directory)"
            raise _UnusableBundle(f"there is no folder '{path}'{origin}; build the bundle first or correct the path")
        if isinstance(args, EnsembleArgs):
            return len(load_ensemble(location).manifest.submodels)
        load_family(location).require_parts()
    except BundleError as err:
        inner = f"{location.rstrip('/')}/bundle"  # where the folder of a build has its bundle
        hint = f". Nearest: {inner}" if Folder.at(inner).has(MANIFEST) else ""
        raise _UnusableBundle(f"{err}{hint}") from None
    except (ConfigError, OSError, ValueError) as err:  # ValueError: an impossible path
        raise _UnusableBundle(str(err)) from None
    return None


def _check_deployment_names(
    builder: _Builder, args: AppArgs, submodel_count: int | None, app: Mapping[Any, Any], path: str
) -> Iterator[Finding]:
    """Find settings for deployments that the application does not have.

    If the number of sub-models is not known, any `submodel-N` is taken to exist.
    """
    known = [builder.ingress]
    if isinstance(args, EnsembleArgs):
        try:
            known += args.groups if submodel_count is None else args.assign_deployments(submodel_count)
        except ValueError as err:
            yield Finding(join_path(path, "args", "groups"), str(err))
            return
        if submodel_count is None:
            grouped = {index for group in args.groups.values() for index in group}
            indices = {name: _submodel_index(name) for name in _configured_names(app)}
            known += [name for name, index in indices.items() if index is not None and index not in grouped]
    for index, deployment in list_mappings(app.get("deployments")):
        name = deployment.get("name")
        if isinstance(name, str) and name not in known:
            hint = _hint_group(name, args) or nearest(name, known)
            where = join_path(path, "deployments", index, "name")
            yield Finding(where, f"the application has no deployment '{name}'. {hint}")


def _hint_group(name: str, args: AppArgs) -> str | None:
    """Return a hint for the name of a sub-model that belongs to a group."""
    groups = args.groups if isinstance(args, EnsembleArgs) else {}
    return next((f"Nearest: {group}." for group, indices in groups.items() if _submodel_index(name) in indices), None)


def _configured_names(app: Mapping[Any, Any]) -> list[str]:
    deployments = list_mappings(app.get("deployments"))
    return [deployment["name"] for _, deployment in deployments if isinstance(deployment.get("name"), str)]


def _submodel_index(name: str) -> int | None:
    match = re.fullmatch(rf"{SUBMODEL_PREFIX}(0|[1-9]\d*)", name)
    return int(match[1]) if match else None


def _check_ongoing_requests(builder: _Builder, args: AppArgs, app: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    if not isinstance(args, EnsembleArgs):
        return
    for index, deployment in list_mappings(app.get("deployments")):
        limit = deployment.get("max_ongoing_requests")
        if deployment.get("name") == builder.ingress and isinstance(limit, int) and 0 < limit < args.max_batch:
            yield Finding(
                join_path(path, "deployments", index, "max_ongoing_requests"),
                f"{limit} is less than args.max_batch {args.max_batch}: batches of single images would never be full. "
                f"Leave it out or set at least {2 * args.max_batch}, so that one batch fills while another is computed",
            )


def _check_branch_timeout(args: AppArgs, http: Mapping[Any, Any], args_path: str) -> Iterator[Finding]:
    request_timeout_s = http.get("request_timeout_s")
    if (
        isinstance(args, EnsembleArgs)
        and args.missing != "wait"
        and isinstance(request_timeout_s, int | float)
        and 0 < request_timeout_s <= args.branch_timeout_s
    ):
        yield Finding(
            join_path(args_path, "branch_timeout_s"),
            f"{args.branch_timeout_s:g} is not less than http_options.request_timeout_s {request_timeout_s:g}: a "
            "request would time out before its late sub-models do",
        )


def _check_access(args: AppArgs, app: Mapping[Any, Any], http: Mapping[Any, Any], args_path: str) -> Iterator[Finding]:
    """Find an application that listens for other machines but answers none of them."""
    host = http.get("host", HTTPOptionsSchema.model_fields["host"].default)
    has_route = app.get("route_prefix", "/") is not None
    if args.access.api_key_env or args.access.anyone or not has_route or not isinstance(host, str):
        return
    if not is_loopback(host):
        source = f"http_options.host is {host}" if "host" in http else f"http_options.host is not set and thus {host}"
        yield Finding(
            join_path(args_path, "access"),
            f"{source}: other machines can connect, but are all refused. Set access.api_key_env to the environment "
            "variable with the key, or access.anyone: true, or http_options.host: 127.0.0.1",
        )
