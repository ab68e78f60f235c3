"""The Serve config inside a KubeRay RayService, and what the cluster around it must have for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from raysplit.errors import nearest
from raysplit.serving.check.config import check_config
from raysplit.serving.check.documents import read_documents
from raysplit.serving.check.finding import Finding, at, mapping, mappings

_ALWAYS = ("accelerator_type:", "node:")
"""How names of resources begin that Ray adds itself."""
_Group = tuple[str, Mapping[Any, Any]]
"""The path of a head or worker group, and the group."""


def check_rayservice(manifest: Mapping[Any, Any], path: str) -> list[Finding]:
    """Return what is wrong with a RayService; what Kubernetes refuses by itself is left to it.

    Bundles and other people's modules are in its images, so they are not looked for.
    """
    spec = mapping(manifest.get("spec"))
    where, text = at(path, "spec.serveConfigV2"), spec.get("serveConfigV2")
    if not isinstance(text, str):
        return [Finding(where, "must be text, a Serve config: 'serveConfigV2: |' and its lines")]
    documents, findings = read_documents(text, where)
    if len(documents) != 1:
        return findings or [Finding(where, f"holds {len(documents)} documents, not one Serve config")]
    config = documents[0][1]
    groups = _groups(mapping(spec.get("rayClusterConfig")), at(path, "spec.rayClusterConfig"))
    offered, unread = _offered(groups)
    findings += [*check_config(config, where, here=False), *unread]
    for index, app in mappings(mapping(config).get("applications")):
        place = at(at(where, "applications"), index)
        findings += [*_unoffered(app, place, offered), *_without_key(app, place, groups)]
    return findings


def _groups(cluster: Mapping[Any, Any], path: str) -> list[_Group]:
    workers = at(path, "workerGroupSpecs")
    head = (at(path, "headGroupSpec"), mapping(cluster.get("headGroupSpec")))
    return [head, *((at(workers, index), group) for index, group in mappings(cluster.get("workerGroupSpecs")))]


def _offered(groups: list[_Group]) -> tuple[set[str], list[Finding]]:
    """Return the custom resources of all groups, and those that cannot be read."""
    offered: set[str] = set()
    findings: list[Finding] = []
    for path, group in groups:
        offered.update(mapping(group.get("resources")))
        text = mapping(group.get("rayStartParams")).get("resources")
        if text is None:
            continue
        try:  # the shell that runs `ray start` takes the quotes and backslashes off
            offered.update(json.loads(text.strip("'\"").replace('\\"', '"')).keys())
        except (AttributeError, TypeError, ValueError):
            remedy = """write '"{\\"NAME\\": 1}"', or `resources: {NAME: "1"}` beside rayStartParams"""
            findings.append(Finding(at(path, "rayStartParams.resources"), f"is not resources as JSON; {remedy}"))
    return offered, findings


def _unoffered(app: Mapping[Any, Any], path: str, offered: set[str]) -> Iterator[Finding]:
    for index, row in mappings(app.get("deployments")):
        for name in mapping(mapping(row.get("ray_actor_options")).get("resources")):
            if name not in offered and not str(name).startswith(_ALWAYS):
                where = at(at(at(path, "deployments"), index), f"ray_actor_options.resources.{name}")
                yield Finding(where, f"no group of pods offers '{name}'. {nearest(str(name), sorted(offered))}")


def _without_key(app: Mapping[Any, Any], path: str, groups: list[_Group]) -> Iterator[Finding]:
    name = mapping(mapping(app.get("args")).get("access")).get("api_key_env")
    containers = [
        container
        for _, group in groups
        for _, container in mappings(mapping(mapping(group.get("template")).get("spec")).get("containers"))
    ]
    if not isinstance(name, str) or any("envFrom" in container for container in containers):
        return
    known = {str(one.get("name")) for container in containers for _, one in mappings(container.get("env"))}
    if name not in known:
        where = at(path, "args.access.api_key_env")
        yield Finding(where, f"no container sets '{name}'; take it from a Secret in `env`. {nearest(name, known)}")
