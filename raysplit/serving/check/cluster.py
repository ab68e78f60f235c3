"""Settings of a RayCluster that must agree with the Serve config: ports, and the version of Ray."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ray.serve.schema import HTTPOptionsSchema

from raysplit.serving.check.finding import Finding, as_mapping, join_path, list_mappings
from raysplit.serving.check.pods import PodGroup

_RAY_IMAGES = ("ray", "ray-ml", "ray-llm", "raysplit")
"""Names of images whose tags begin with Ray's version."""
_OWN_IMAGES = "raysplit-"
"""The beginning of the names of others."""
_RAY_TAG = re.compile(r"v?(\d+(?:\.\d+)+)(?P<python>\S*-py3\d+)?")
_PROXY_HEALTH = "/-/healthz"


def check_ports(
    config: Mapping[Any, Any], path: str, spec: Mapping[Any, Any], groups: Sequence[PodGroup]
) -> Iterator[Finding]:
    """Find ports of containers and probes that are not the one at which Serve's proxies listen.

    If all of them are the same, Serve's is reported, and otherwise each that is different.
    """
    port = as_mapping(config.get("http_options", {})).get("port", HTTPOptionsSchema.model_fields["port"].default)
    containers = groups[0].containers()
    if config.get("proxy_location") == "Disabled" or not isinstance(port, int) or not containers:
        return
    where = join_path(path, "serveConfigV2.http_options.port")
    named = [entry for group in groups for entry in _list_ports(group)]
    listed = list_mappings(containers[0][1].get("ports"))  # KubeRay adds its own, `serve` among them, if there is none
    if listed and not any(at.startswith(groups[0].path) for at, _ in named) and not spec.get("serveService"):
        remedy = f"add {{name: serve, containerPort: {port}}}"
        text = f"no port is named 'serve', so KubeRay makes no Service for Serve; {remedy}"
        yield Finding(join_path(containers[0][0], "ports"), text)
    service = join_path(path, "serveService.spec.ports")
    ports = as_mapping(as_mapping(spec.get("serveService")).get("spec")).get("ports")
    for index, entry in list_mappings(ports):
        target = entry.get("targetPort", entry.get("port"))
        if isinstance(target, int):
            named.append((join_path(service, index, "targetPort" if "targetPort" in entry else "port"), target))
    others = [(at, number) for at, number in named if number != port]
    if others and len(others) == len(named) and len({number for _, number in others}) == 1:
        at, number = others[0]
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        yield Finding(where, f"Serve listens at {port}, but {at}{more} say {number}; set port: {number}")
        return
    for at, number in others:
        yield Finding(at, f"is {number}, but Serve listens at {port} ({where}); set {port}")


def _list_ports(group: PodGroup) -> Iterator[tuple[str, int]]:
    """Yield the ports of a group's pods that should be Serve's, with their paths."""
    for path, container in group.containers():
        for index, entry in list_mappings(container.get("ports")):
            number = entry.get("containerPort")
            if entry.get("name") == "serve" and isinstance(number, int):
                yield join_path(path, "ports", index, "containerPort"), number
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            get = as_mapping(as_mapping(container.get(probe)).get("httpGet"))
            if get.get("path") == _PROXY_HEALTH and isinstance(get.get("port"), int):
                yield join_path(path, probe, "httpGet.port"), get["port"]


def check_version(cluster: Mapping[Any, Any], path: str, groups: Sequence[PodGroup]) -> Iterator[Finding]:
    """Find a `rayVersion` unlike the one in the tag of an image.

    >>> from raysplit.serving.check.pods import list_groups
    >>> containers = [{"image": "rayproject/ray:2.60.0-py311-cpu"}]
    >>> cluster = {"rayVersion": "2.41.0", "headGroupSpec": {"template": {"spec": {"containers": containers}}}}
    >>> print(next(check_version(cluster, "", list_groups(cluster, "", []))))
    rayVersion: is 2.41.0, but the image rayproject/ray:2.60.0-py311-cpu of headGroupSpec has Ray 2.60.0; set "2.60.0"
    """
    version = cluster.get("rayVersion")
    images = [
        (group, str(container.get("image")), found)
        for group in groups
        for _, container in group.containers()[:1]
        if (found := read_ray_version(str(container.get("image"))))
    ]
    several = len({found for _, _, found in images}) > 1
    if isinstance(version, str):
        for group, image, found in images:
            if not _agree(version, found):
                remedy = "use the same in all images" if several else f'set "{found}"'
                text = f"is {version}, but the image {image} of {group.path} has Ray {found}; {remedy}"
                yield Finding(join_path(path, "rayVersion"), text)
                return
    elif version is not None:
        yield Finding(join_path(path, "rayVersion"), f"must be text in quotes (got {version!r})")
    elif several:
        text = "; ".join(f"{group.path} has Ray {found}" for group, _, found in images)
        yield Finding(path, f"its images have different versions of Ray: {text}. Use the same in all")


def read_ray_version(image: str) -> str | None:
    """Return the version of Ray that the tag of an image says, or None if it says none.

    Ray's own images and raysplit's have tags that begin with it, and so do others with a suffix like `-py311`.

    >>> read_ray_version("localhost:5000/ray:2.60.0-py311-cpu@sha256:00"), read_ray_version("example.com/shop:1.4.2")
    ('2.60.0', None)
    """
    name, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    match = _RAY_TAG.match(tag)
    if match is None or not (name in _RAY_IMAGES or name.startswith(_OWN_IMAGES) or match["python"]):
        return None
    return ".".join(match[1].split(".")[:3])


def _agree(one: str, other: str) -> bool:
    parts = list(zip(one.split("."), other.split("."), strict=False))
    return all(left == right for left, right in parts[:3])
