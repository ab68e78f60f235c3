"""What only raysplit knows of its applications: their args, bundles, deployments, and what must fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from ray.serve.schema import HTTPOptionsSchema

from raysplit.ensemble.bundle import load_ensemble
from raysplit.errors import BundleError, ConfigError, nearest
from raysplit.family.bundle import load_family
from raysplit.serving.args import INGRESS, AppArgs, EnsembleArgs, SplitArgs
from raysplit.serving.check.finding import Finding, at, mappings
from raysplit.serving.check.imports import with_colon
from raysplit.serving.check.strict import validated
from raysplit.utils.bundle import MANIFEST
from raysplit.utils.storage import Folder


@dataclass(frozen=True)
class _Builder:
    args: type[AppArgs]
    ingress: str
    """Name of the deployment that speaks HTTP and puts batches together."""
    location: Literal["bundle", "family"]
    """Which of the args says where the bundle is."""


_BUILDERS = {
    "raysplit.serving.ensemble:build": _Builder(EnsembleArgs, INGRESS, "bundle"),
    "raysplit.serving.split:build": _Builder(SplitArgs, "Server", "family"),
}


def check_app(app: Mapping[Any, Any], path: str, config: Mapping[Any, Any], here: bool) -> Iterator[Finding]:
    """Check an application if its builder is ours; `config` is the whole, and bundles are opened if they are `here`."""
    import_path = app.get("import_path")
    builder = _BUILDERS.get(with_colon(import_path)) if isinstance(import_path, str) else None
    if builder is None or not isinstance(app.get("args", {}), Mapping):  # the schema has said so
        return
    found: list[Finding] = []
    where = at(path, "args")
    args = validated(builder.args, app.get("args", {}), where, found)
    yield from found
    if args is None:
        return
    parts: int | None = None
    if here:
        parts, fault = _opened(builder, args)
        if fault:
            yield Finding(at(where, builder.location), fault)
    yield from _names(builder, args, parts, app, path)
    yield from _batch(builder, args, app, path)
    http = config.get("http_options", {})
    if isinstance(http, Mapping) and config.get("proxy_location") != "Disabled":
        yield from _time(args, http, where)
        yield from _strangers(args, app, http, where)


def _opened(builder: _Builder, args: AppArgs) -> tuple[int | None, str | None]:
    """Return the number of sub-models in an ensemble, and what is wrong with a bundle; one from afar is not opened."""
    location = getattr(args, builder.location)
    if "://" in location and not location.startswith("file://"):
        return None, None
    try:
        path = Folder.at(location).path
        if not Path(path).exists():
            relative = "" if location in (path, f"file://{path}") else f" ('{location}' from the working directory)"
            return None, f"there is no folder '{path}'{relative}; build the bundle first, or mend the path"
        if isinstance(args, EnsembleArgs):
            return len(load_ensemble(location).manifest.submodels), None
        load_family(location)
    except BundleError as err:  # a build's folder has the bundle within
        inner = f"{location.rstrip('/')}/bundle"
        return None, f"{err}. Nearest: {inner}" if Folder.at(inner).has(MANIFEST) else str(err)
    except (ConfigError, OSError, ValueError) as err:  # ValueError: a path that cannot be
        return None, str(err)
    return None, None


def _names(builder: _Builder, args: AppArgs, parts: int | None, app: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    """Find rows of deployments that the app does not have; without its bundle, any `submodel-N` may be there."""
    known = [builder.ingress]
    if isinstance(args, EnsembleArgs):
        groups = at(at(path, "args"), "groups")
        try:
            known += args.groups if parts is None else args.deployments(parts)
        except ValueError as err:
            yield Finding(groups, str(err))
            return
        if parts is None:
            grouped = {index for group in args.groups.values() for index in group}
            known += [name for name in _rows(app) if _number(name) is not None and _number(name) not in grouped]
    for index, row in mappings(app.get("deployments")):
        name = row.get("name")
        if isinstance(name, str) and name not in known:
            where = at(at(at(path, "deployments"), index), "name")
            hint = _group_of(name, args) or nearest(name, known)
            yield Finding(where, f"the application has no deployment '{name}'. {hint}")


def _group_of(name: str, args: AppArgs) -> str | None:
    groups = args.groups if isinstance(args, EnsembleArgs) else {}
    return next(
        (f"Nearest: {group}." for group, level_records in groups.items() if _number(name) in level_records), None
    )


def _rows(app: Mapping[Any, Any]) -> list[str]:
    return [row["name"] for _, row in mappings(app.get("deployments")) if isinstance(row.get("name"), str)]


def _number(name: str) -> int | None:
    found = re.fullmatch(r"submodel-(0|[1-9]\d*)", name)
    return int(found[1]) if found else None


def _batch(builder: _Builder, args: AppArgs, app: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    if not isinstance(args, EnsembleArgs):
        return
    for index, row in mappings(app.get("deployments")):
        value = row.get("max_ongoing_requests")
        if row.get("name") == builder.ingress and isinstance(value, int) and 0 < value < args.max_batch:
            yield Finding(
                at(at(at(path, "deployments"), index), "max_ongoing_requests"),
                f"{value} is less than args.max_batch {args.max_batch}: a batch of single images would never be full; "
                f"leave it out or set at least {2 * args.max_batch}, so that one batch fills while another computes",
            )


def _time(args: AppArgs, http: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    limit = http.get("request_timeout_s")
    if (
        isinstance(args, EnsembleArgs)
        and args.missing != "wait"
        and isinstance(limit, int | float)
        and 0 < limit <= args.branch_timeout_s
    ):
        yield Finding(
            at(path, "branch_timeout_s"),
            f"{args.branch_timeout_s:g} is not less than http_options.request_timeout_s {limit:g}: a request would "
            "end before its late sub-models are given up",
        )


def _strangers(args: AppArgs, app: Mapping[Any, Any], http: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    host = http.get("host", HTTPOptionsSchema.model_fields["host"].default)
    served = app.get("route_prefix", "/") is not None
    if args.access.api_key_env or args.access.anyone or not served or not isinstance(host, str) or _is_loopback(host):
        return
    listens = f"http_options.host is {host}" if "host" in http else f"http_options.host is not set, so it is {host}"
    yield Finding(
        at(path, "access"),
        f"{listens}: other machines can ask, and none is answered. Set access.api_key_env to the environment variable "
        "with the key, or access.anyone: true, or http_options.host: 127.0.0.1",
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
