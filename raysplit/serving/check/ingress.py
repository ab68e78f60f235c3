"""What an Ingress names: Services with their ports, and the Secrets of certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raysplit.errors import nearest
from raysplit.serving.check.finding import Finding, as_mapping, join_path, list_mappings

Ports = set[int | str] | None
"""Of a Service, by number and name; None if they are not known."""


def list_services(manifests: Sequence[tuple[str, Mapping[Any, Any]]]) -> dict[str, Ports]:
    """Return the Services of some manifests by name, with those that KubeRay makes.

    >>> service = {"kind": "Service", "metadata": {"name": "shop"}, "spec": {"ports": [{"name": "http", "port": 80}]}}
    >>> cluster = {"kind": "RayCluster", "metadata": {"name": "train"}}
    >>> found = list_services([("", service), ("", cluster)])
    >>> sorted(map(str, found["shop"])), found["train-head-svc"]
    (['80', 'http'], None)
    """
    services: dict[str, Ports] = {}
    for _, manifest in manifests:
        name, spec = str(as_mapping(manifest.get("metadata")).get("name")), as_mapping(manifest.get("spec"))
        if manifest.get("kind") == "Service":
            ports = [entry for _, entry in list_mappings(spec.get("ports"))]
            services[name] = {value for entry in ports for value in (entry.get("port"), entry.get("name")) if value}
        elif manifest.get("kind") in ("RayCluster", "RayService"):
            services[f"{name}-head-svc"] = None
            if manifest.get("kind") == "RayService":
                services[f"{name}-serve-svc"] = _list_serve_ports(spec)
    return services


def _list_serve_ports(spec: Mapping[Any, Any]) -> Ports:
    """Return the ports of the Service that KubeRay makes for Serve: those of the head that are named `serve`."""
    if spec.get("serveService"):
        return None
    head = as_mapping(as_mapping(spec.get("rayClusterConfig")).get("headGroupSpec"))
    template = as_mapping(as_mapping(head.get("template")).get("spec"))
    ports: set[int | str] = set()
    for _, container in list_mappings(template.get("containers")):
        for _, entry in list_mappings(container.get("ports")):
            if entry.get("name") == "serve" and isinstance(entry.get("containerPort"), int):
                ports |= {"serve", entry["containerPort"]}
    return ports or None


def check_backends(spec: Mapping[Any, Any], path: str, services: Mapping[str, Ports]) -> Iterator[Finding]:
    """Find Services of an Ingress that are not among those of its manifests, if there are any, and their ports."""
    if not services:
        return
    for where, service in _list_backends(spec, path):
        name, port = service.get("name"), as_mapping(service.get("port"))
        if name not in services:
            hint = nearest(str(name), sorted(services))
            yield Finding(
                join_path(where, "name"), f"there is no Service '{name}'; add it, or correct the name. {hint}"
            )
            continue
        known, wanted = services[str(name)], port.get("number", port.get("name"))
        if known is not None and wanted is not None and wanted not in known:
            offered = ", ".join(sorted(map(str, known)))
            yield Finding(join_path(where, "port"), f"Service '{name}' has no port {wanted}; it has {offered}")


def _list_backends(spec: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    places = [(join_path(path, "defaultBackend"), as_mapping(spec.get("defaultBackend")))]
    for index, rule in list_mappings(spec.get("rules")):
        where = join_path(path, "rules", index, "http.paths")
        for number, entry in list_mappings(as_mapping(rule.get("http")).get("paths")):
            places.append((join_path(where, number, "backend"), as_mapping(entry.get("backend"))))
    for where, backend in places:
        if service := as_mapping(backend.get("service")):
            yield join_path(where, "service"), service


def list_tls_secrets(spec: Mapping[Any, Any], path: str) -> Iterator[tuple[str, str, str]]:
    """Yield where an Ingress names the Secret of a certificate, with its kind and name."""
    for index, entry in list_mappings(spec.get("tls")):
        if isinstance(entry.get("secretName"), str):
            yield join_path(path, "tls", index, "secretName"), "Secret", entry["secretName"]
