"""Checking a KubeRay RayService: the Serve config in it, and what the cluster must offer for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from raysplit.errors import nearest
from raysplit.serving.check.config import check_config
from raysplit.serving.check.documents import read_documents
from raysplit.serving.check.finding import Finding, as_mapping, join_path, list_mappings

_BUILT_IN_RESOURCES = ("accelerator_type:", "node:")
"""Prefixes of resources that Ray itself adds."""


@dataclass(frozen=True)
class _Group:
    """A head or worker group of pods, and its path."""

    path: str
    spec: Mapping[Any, Any]


def check_rayservice(manifest: Mapping[Any, Any], path: str) -> list[Finding]:
    """Return the problems found in a RayService, apart from those that Kubernetes reports itself.

    Bundles and modules outside raysplit are in its images, so they are not looked for.

    >>> print(check_rayservice({"kind": "RayService", "spec": {}}, "")[0])
    spec.serveConfigV2: must be text with a Serve config: 'serveConfigV2: |' followed by its lines
    """
    spec = as_mapping(manifest.get("spec"))
    where, text = join_path(path, "spec.serveConfigV2"), spec.get("serveConfigV2")
    if not isinstance(text, str):
        return [Finding(where, "must be text with a Serve config: 'serveConfigV2: |' followed by its lines")]
    parsed = read_documents(text, where)
    if len(parsed.documents) != 1:
        return parsed.findings or [Finding(where, f"has {len(parsed.documents)} documents, not one Serve config")]
    config = parsed.documents[0].value
    groups = _list_groups(as_mapping(spec.get("rayClusterConfig")), join_path(path, "spec.rayClusterConfig"))
    findings = [*parsed.findings, *check_config(config, where, local=False)]
    offered = _collect_resources(groups, findings)
    for index, app in list_mappings(as_mapping(config).get("applications")):
        app_path = join_path(where, "applications", index)
        findings += [*_check_resources(app, app_path, offered), *_check_key_variable(app, app_path, groups)]
    return findings


def _list_groups(cluster: Mapping[Any, Any], path: str) -> list[_Group]:
    workers = join_path(path, "workerGroupSpecs")
    head = _Group(join_path(path, "headGroupSpec"), as_mapping(cluster.get("headGroupSpec")))
    specs = list_mappings(cluster.get("workerGroupSpecs"))
    return [head, *(_Group(join_path(workers, index), spec) for index, spec in specs)]


def _collect_resources(groups: list[_Group], findings: list[Finding]) -> set[str]:
    """Return the names of all groups' custom resources; those that cannot be parsed are appended to `findings`."""
    offered: set[str] = set()
    for group in groups:
        offered.update(as_mapping(group.spec.get("resources")))
        text = as_mapping(group.spec.get("rayStartParams")).get("resources")
        if text is None:
            continue
        try:  # the shell that runs `ray start` removes quotes and backslashes
            offered.update(json.loads(text.strip("'\"").replace('\\"', '"')).keys())
        except (AttributeError, TypeError, ValueError):
            remedy = """write '"{\\"NAME\\": 1}"', or `resources: {NAME: "1"}` beside rayStartParams"""
            where = join_path(group.path, "rayStartParams.resources")
            findings.append(Finding(where, f"is not valid JSON with resources; {remedy}"))
    return offered


def _check_resources(app: Mapping[Any, Any], path: str, offered: set[str]) -> Iterator[Finding]:
    for index, deployment in list_mappings(app.get("deployments")):
        for name in as_mapping(as_mapping(deployment.get("ray_actor_options")).get("resources")):
            if name not in offered and not str(name).startswith(_BUILT_IN_RESOURCES):
                where = join_path(path, "deployments", index, f"ray_actor_options.resources.{name}")
                yield Finding(where, f"no group of pods offers '{name}'. {nearest(str(name), sorted(offered))}")


def _check_key_variable(app: Mapping[Any, Any], path: str, groups: list[_Group]) -> Iterator[Finding]:
    name = as_mapping(as_mapping(app.get("args")).get("access")).get("api_key_env")
    containers = [
        container
        for group in groups
        for _, container in list_mappings(
            as_mapping(as_mapping(group.spec.get("template")).get("spec")).get("containers")
        )
    ]
    if not isinstance(name, str) or any("envFrom" in container for container in containers):
        return
    known = {str(entry.get("name")) for container in containers for _, entry in list_mappings(container.get("env"))}
    if name not in known:
        where = join_path(path, "args.access.api_key_env")
        yield Finding(where, f"no container sets '{name}'; set it from a Secret in `env`. {nearest(name, known)}")
