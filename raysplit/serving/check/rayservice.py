"""Checking a KubeRay RayService: the Serve config in it, and what the cluster must offer for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from raysplit.errors import nearest
from raysplit.serving.check.cluster import check_ports, check_version
from raysplit.serving.check.config import check_config
from raysplit.serving.check.documents import read_documents
from raysplit.serving.check.finding import Finding, as_mapping, join_path, list_mappings
from raysplit.serving.check.placement import check_placement
from raysplit.serving.check.pods import PodGroup, list_groups


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
    cluster, cluster_path = as_mapping(spec.get("rayClusterConfig")), join_path(path, "spec.rayClusterConfig")
    findings = [*parsed.findings, *check_config(config, where, local=False)]
    groups = list_groups(cluster, cluster_path, findings)
    findings += check_placement(as_mapping(config), where, groups)
    findings += check_ports(as_mapping(config), join_path(path, "spec"), spec, groups)
    findings += check_version(cluster, cluster_path, groups)
    for index, app in list_mappings(as_mapping(config).get("applications")):
        findings += _check_key_variable(app, join_path(where, "applications", index), groups)
    return findings


def _check_key_variable(app: Mapping[Any, Any], path: str, groups: list[PodGroup]) -> Iterator[Finding]:
    name = as_mapping(as_mapping(app.get("args")).get("access")).get("api_key_env")
    containers = [container for group in groups for _, container in group.containers()]
    if not isinstance(name, str) or any("envFrom" in container for container in containers):
        return
    known = {str(entry.get("name")) for container in containers for _, entry in list_mappings(container.get("env"))}
    if name not in known:
        where = join_path(path, "args.access.api_key_env")
        yield Finding(where, f"no container sets '{name}'; set it from a Secret in `env`. {nearest(name, known)}")
