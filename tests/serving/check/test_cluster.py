"""Ports and versions of a RayCluster that must agree with its Serve config and images."""

from __future__ import annotations

import pytest

from raysplit.serving.check.cluster import read_ray_version
from tests.serving.check.configs import RAYSERVICE, changed, findings_in

CLUSTER = "spec.rayClusterConfig"
IMAGE = "registry.example.com/raysplit:2.60.0"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Run every test in a folder without bundles."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        (
            "port: 8000\n      request",
            "port: 8001\n      request",
            "spec.serveConfigV2.http_options.port",
            f"Serve listens at 8001, but {CLUSTER}.headGroupSpec.template.spec.containers[0].ports[3].containerPort "
            "and 8 more say 8000; set port: 8000",
        ),
        (
            "{name: serve, containerPort: 8000}\n              resources",
            "{name: serve, containerPort: 8080}\n              resources",
            f"{CLUSTER}.headGroupSpec.template.spec.containers[0].ports[3].containerPort",
            "is 8080, but Serve listens at 8000 (spec.serveConfigV2.http_options.port); set 8000",
        ),
        (
            "httpGet: {path: /-/healthz, port: 8000}",
            "httpGet: {path: /-/healthz, port: 80}",
            f"{CLUSTER}.workerGroupSpecs[0].template.spec.containers[0].readinessProbe.httpGet.port",
            "is 80, but Serve listens at 8000",
        ),
        (
            "{name: serve, containerPort: 8000}",
            "{name: http, containerPort: 8000}",
            f"{CLUSTER}.headGroupSpec.template.spec.containers[0].ports",
            "no port is named 'serve', so KubeRay makes no Service for Serve; add {name: serve, containerPort: 8000}",
        ),
        (
            "  excludeHead",
            "  serveService: {spec: {ports: [{port: 80, targetPort: 9000}]}}\n  excludeHead",
            "spec.serveService.spec.ports[0].targetPort",
            "is 9000, but Serve listens at 8000",
        ),
    ],
)
def test_ports_that_differ(old, new, path, message):
    found = findings_in(changed(old, new, RAYSERVICE))
    assert len(found) == 1 and found[0].startswith(f"{path}: ") and message in found[0], found


def test_a_port_that_is_the_same_everywhere():
    assert findings_in(RAYSERVICE.replace("8000", "8080")) == []


@pytest.mark.parametrize("image", [IMAGE, "rayproject/ray:2.60.0-py311-cpu", "localhost:5000/ray:2.60.0@sha256:ab"])
def test_another_version_than_the_image(image):
    text = RAYSERVICE.replace(IMAGE, image)
    assert findings_in(text) == []
    [found] = findings_in(changed('rayVersion: "2.60.0"', 'rayVersion: "2.59.0"', text))
    assert found.startswith(
        f"{CLUSTER}.rayVersion: is 2.59.0, but the image {image} of {CLUSTER}.headGroupSpec has Ray"
    )
    assert found.endswith('2.60.0; set "2.60.0"')


def test_images_with_different_versions():
    found = findings_in(changed(IMAGE, "rayproject/ray:2.59.1", RAYSERVICE))
    assert len(found) == 1 and found[0].endswith("has Ray 2.59.1; use the same in all images")
    [found] = findings_in(changed('    rayVersion: "2.60.0"', "", changed(IMAGE, "ray:2.59.1", RAYSERVICE)))
    assert found.startswith(
        f"{CLUSTER}: its images have different versions of Ray: {CLUSTER}.headGroupSpec has Ray 2.59.1"
    )
    [found] = findings_in(changed('rayVersion: "2.60.0"', "rayVersion: 2.6", RAYSERVICE))
    assert found == f"{CLUSTER}.rayVersion: must be text in quotes (got 2.6)"


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("rayproject/ray:2.60.0.abc123-py311-cpu", "2.60.0"),
        ("team/digits:2.60.0-py312", "2.60.0"),
        ("rayproject/ray-ml:2.41", "2.41"),
        ("rayproject/ray:nightly-py311", None),
        ("rayproject/ray", None),
        ("rayproject/ray@sha256:2.41.0", None),
        ("localhost:5000/team/digits:1.4.2", None),  # its own version
    ],
)
def test_versions_in_tags(image, version):
    assert read_ray_version(image) == version
