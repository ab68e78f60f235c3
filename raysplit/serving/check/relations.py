"""Rules across manifests that are applied together: what is named must be there, and what selects must find."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from raysplit.errors import nearest
from raysplit.serving.check.documents import Document
from raysplit.serving.check.finding import Finding, as_mapping, join_path, list_mappings
from raysplit.serving.check.ingress import check_backends, list_services, list_tls_secrets

ELSEWHERE = "raysplit.io/created-elsewhere"
"""Annotation with the names, after spaces, of Secrets and ConfigMaps that no file holds."""
_TEMPLATES = {"Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job"}
_GIVEN = ("ray.io/", "app.kubernetes.io/name", "app.kubernetes.io/created-by")
"""Labels that KubeRay gives its pods."""
_HOLDERS = {"Secret": "a Secret", "ConfigMap": "a ConfigMap", "PersistentVolumeClaim": "a PersistentVolumeClaim"}


def check_relations(documents: Sequence[Document]) -> list[Finding]:
    """Return the problems of manifests that are applied together.

    A Secret, ConfigMap or claim that is named must be among them if any of its kind is, or be listed in the annotation
    `raysplit.io/created-elsewhere`; what selects pods must select some, if any manifest has pods.
    """
    manifests = [(doc.path, as_mapping(doc.value)) for doc in documents]
    findings = list(_find_twins(manifests))
    pods = [(at, template) for path, manifest in manifests for at, template in list_templates(manifest, path)]
    present = _list_present(manifests)
    for path, template in pods:
        spec = as_mapping(template.get("spec"))
        findings += _check_named(_list_references(spec, join_path(path, "spec")), present)
        findings += _check_volumes(spec, join_path(path, "spec"))
    services = list_services(manifests)
    for path, manifest in manifests:
        if manifest.get("kind") == "Ingress":
            spec, at = as_mapping(manifest.get("spec")), join_path(path, "spec")
            findings += _check_named(list_tls_secrets(spec, at), present)
            findings += check_backends(spec, at, services)
        findings += _check_selectors(manifest, path, [template for _, template in pods])
    return findings


def list_templates(manifest: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield the templates of pods in a manifest, with their paths."""
    kind, spec = str(manifest.get("kind")), as_mapping(manifest.get("spec"))
    where = join_path(path, "spec")
    if kind in _TEMPLATES:
        yield join_path(where, "template"), as_mapping(spec.get("template"))
    inner = {"RayService": "rayClusterConfig", "RayJob": "rayClusterSpec", "RayCluster": None}
    if kind not in inner:
        return
    key = inner[kind]
    cluster, at = (spec, where) if key is None else (as_mapping(spec.get(key)), join_path(where, key))
    yield join_path(at, "headGroupSpec.template"), as_mapping(as_mapping(cluster.get("headGroupSpec")).get("template"))
    for index, group in list_mappings(cluster.get("workerGroupSpecs")):
        yield join_path(at, "workerGroupSpecs", index, "template"), as_mapping(group.get("template"))


def _find_twins(manifests: Sequence[tuple[str, Mapping[Any, Any]]]) -> Iterator[Finding]:
    seen: dict[tuple[str, ...], str] = {}
    for path, manifest in manifests:
        about = as_mapping(manifest.get("metadata"))
        if manifest.get("kind") is None or about.get("name") is None:
            continue
        named = (manifest.get("apiVersion"), manifest.get("kind"), about.get("namespace"), about.get("name"))
        key = tuple(map(str, named))
        if key in seen:
            other = seen[key] or "the first one"
            text = f"is a second {key[1]} '{key[3]}' ({other} is the first), and replaces it; rename or remove one"
            yield Finding(join_path(path, "metadata.name"), text)
        seen.setdefault(key, path)


def _list_present(manifests: Sequence[tuple[str, Mapping[Any, Any]]]) -> dict[str, set[str]]:
    """Return the names of Secrets, ConfigMaps and claims, by kind; kinds of which there is none are left out."""
    present: dict[str, set[str]] = {}
    elsewhere: set[str] = set()
    annotated = False
    for _, manifest in manifests:
        about, kind = as_mapping(manifest.get("metadata")), str(manifest.get("kind"))
        listed = as_mapping(about.get("annotations")).get(ELSEWHERE)
        if isinstance(listed, str):
            annotated = True
            elsewhere |= set(listed.split())
        if kind in _HOLDERS:
            present.setdefault(kind, set()).add(str(about.get("name")))
    if annotated:
        present.setdefault("Secret", set())
        present.setdefault("ConfigMap", set())
    return {kind: names | elsewhere for kind, names in present.items()}


def _check_named(references: Iterable[tuple[str, str, str]], present: Mapping[str, set[str]]) -> Iterator[Finding]:
    for where, kind, name in references:
        if kind in present and name not in present[kind]:
            hint = nearest(name, sorted(present[kind]))
            remedy = (
                f"add it, or list it in the annotation {ELSEWHERE}" if kind != "PersistentVolumeClaim" else "add it"
            )
            yield Finding(where, f"there is no {kind} '{name}'; {remedy}. {hint}".rstrip())


def _list_references(spec: Mapping[Any, Any], path: str) -> Iterator[tuple[str, str, str]]:
    """Yield where a pod names a Secret, a ConfigMap or a claim, with its kind and name."""
    for key in ("initContainers", "containers"):
        for index, container in list_mappings(spec.get(key)):
            at = join_path(path, key, index)
            for number, entry in list_mappings(container.get("env")):
                source = as_mapping(entry.get("valueFrom"))
                for reference, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                    yield from _named(
                        source.get(reference), "name", kind, join_path(at, "env", number, "valueFrom", reference)
                    )
            for number, entry in list_mappings(container.get("envFrom")):
                for reference, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                    yield from _named(entry.get(reference), "name", kind, join_path(at, "envFrom", number, reference))
    for index, volume in list_mappings(spec.get("volumes")):
        at = join_path(path, "volumes", index)
        yield from _named(volume.get("secret"), "secretName", "Secret", join_path(at, "secret"))
        yield from _named(volume.get("configMap"), "name", "ConfigMap", join_path(at, "configMap"))
        claim = volume.get("persistentVolumeClaim")
        yield from _named(claim, "claimName", "PersistentVolumeClaim", join_path(at, "persistentVolumeClaim"))
    for index, secret in list_mappings(spec.get("imagePullSecrets")):
        yield from _named(secret, "name", "Secret", join_path(path, "imagePullSecrets", index))


def _named(reference: object, key: str, kind: str, path: str) -> Iterator[tuple[str, str, str]]:
    given = as_mapping(reference)
    if isinstance(given.get(key), str) and given.get("optional") is not True:
        yield join_path(path, key), kind, given[key]


def _check_volumes(spec: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    """Find mounts of volumes that a pod does not have, and twins among its containers."""
    volumes = [str(volume.get("name")) for _, volume in list_mappings(spec.get("volumes"))]
    names: set[str] = set()
    for key in ("initContainers", "containers"):
        for index, container in list_mappings(spec.get(key)):
            at = join_path(path, key, index)
            name = str(container.get("name"))
            if name in names:
                yield Finding(join_path(at, "name"), f"is '{name}', as another container of the pod is; rename one")
            names.add(name)
            for number, mount in list_mappings(container.get("volumeMounts")):
                if str(mount.get("name")) not in volumes:
                    where = join_path(at, "volumeMounts", number, "name")
                    hint = nearest(str(mount.get("name")), volumes)
                    yield Finding(
                        where, f"the pod has no volume '{mount.get('name')}'; add it to volumes. {hint}".rstrip()
                    )


def _check_selectors(
    manifest: Mapping[Any, Any], path: str, templates: Sequence[Mapping[Any, Any]]
) -> Iterator[Finding]:
    """Find what selects pods but none of those in the manifests."""
    kind, spec = str(manifest.get("kind")), as_mapping(manifest.get("spec"))
    where = join_path(path, "spec")
    if kind == "Service":
        selected, at = as_mapping(spec.get("selector")), join_path(where, "selector")
    elif kind == "NetworkPolicy":
        selected, at = (
            as_mapping(as_mapping(spec.get("podSelector")).get("matchLabels")),
            join_path(where, "podSelector"),
        )
    elif kind == "PodDisruptionBudget" or kind in _TEMPLATES:
        selected, at = as_mapping(as_mapping(spec.get("selector")).get("matchLabels")), join_path(where, "selector")
    else:
        return
    if kind in _TEMPLATES:
        templates = [as_mapping(spec.get("template"))]
    selected = {key: value for key, value in selected.items() if not str(key).startswith(_GIVEN)}
    if not selected or not templates:
        return
    labels = [as_mapping(as_mapping(template.get("metadata")).get("labels")) for template in templates]
    if not any(all(own.get(key) == value for key, value in selected.items()) for own in labels):
        known = sorted({f"{key}={value}" for own in labels for key, value in own.items()})
        wrong = next((f"{k}={v}" for k, v in selected.items() if f"{k}={v}" not in known), "all of its labels together")
        hint = nearest(wrong, known) if "=" in wrong else ""
        yield Finding(at, f"selects no pod of these manifests: none has {wrong}. Correct it. {hint}".rstrip())
