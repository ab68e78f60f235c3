"""Checking manifests of Kubernetes that are applied together, with the Serve configs in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raysplit.serving.check.documents import Document
from raysplit.serving.check.finding import Finding, as_mapping, join_path
from raysplit.serving.check.raycluster import check_raycluster
from raysplit.serving.check.rayservice import check_rayservice
from raysplit.serving.check.relations import check_relations
from raysplit.serving.check.schema import KUBERAY_KINDS, check_schema

_HALVES = ("serveConfigV2", "rayClusterConfig")


def check_manifests(documents: Sequence[Document], previous: Sequence[Document] = ()) -> list[Finding]:
    """Return the problems of some manifests: each by itself, and all of them together.

    `previous` are the manifests that run, in which each is looked up by kind and name.
    """
    findings: list[Finding] = []
    before = {_identify(as_mapping(doc.value)): as_mapping(doc.value) for doc in previous}
    for doc in documents:
        manifest = as_mapping(doc.value)
        if not isinstance(doc.value, Mapping):
            findings.append(Finding(doc.path, "is no manifest: it must be a mapping; remove it"))
            continue
        was = before.get(_identify(manifest))
        kind = str(manifest.get("kind"))
        if kind == "RayService":
            findings += check_rayservice(manifest, doc.path)
            if was is not None:
                findings += _check_halves(manifest, was, doc.path)
        if kind in KUBERAY_KINDS:
            findings += check_raycluster(manifest, doc.path)
        findings += check_schema(manifest, doc.path, was)
    return _without_repetitions(findings + check_relations(documents))


def _identify(manifest: Mapping[Any, Any]) -> tuple[str, str]:
    return str(manifest.get("kind")), str(as_mapping(manifest.get("metadata")).get("name"))


def _check_halves(manifest: Mapping[Any, Any], was: Mapping[Any, Any], path: str) -> list[Finding]:
    """Find a RayService in which both halves change: KubeRay then updates the old cluster as well as the new one."""
    now, then = as_mapping(manifest.get("spec")), as_mapping(was.get("spec"))
    if all(now.get(half) != then.get(half) for half in _HALVES):
        return [
            Finding(
                join_path(path, "spec"),
                "changes serveConfigV2 and rayClusterConfig at once: the first is applied to the running cluster too, "
                "which may not hold it. Apply one, wait until it is ready, then the other",
            )
        ]
    return []


def _without_repetitions(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings, of which only the first at each path is kept."""
    kept: dict[str, Finding] = {}
    for finding in findings:
        kept.setdefault(finding.path, finding)
    return list(kept.values())
