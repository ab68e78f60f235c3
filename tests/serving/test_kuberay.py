"""The RayService: the shipped file is what the code renders, and Kubernetes accepts it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysplit.errors import ConfigError
from raysplit.serving.check import check_file
from raysplit.serving.kuberay import render_manifest

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "serve_configs" / "kuberay-ensemble.yaml"
TEXT = SHIPPED.read_text(encoding="utf-8")
IMAGE = "registry.example.com/raysplit:2.60.0"


@pytest.fixture(scope="module")
def service():
    return yaml.safe_load(TEXT)["spec"]


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def closed(schema: Any) -> Any:
    """Return an OpenAPI schema in which objects have no properties but those listed, as in the API server."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        strict.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        strict["type"] = ["integer", "string"]
    return strict


def test_the_shipped_file_is_what_is_rendered():
    assert render_manifest(3, "/bundles/mnist5k_vit_n3", IMAGE) == TEXT


def test_kubernetes_accepts_it():
    jsonschema = pytest.importorskip("jsonschema")
    folder = os.environ.get("RAYSPLIT_KUBERAY_CRDS", ROOT.parent / "shared" / "data" / "kuberay")
    path = Path(folder) / "ray.io_rayservices.json"
    if not path.exists():
        pytest.skip(f"KubeRay's CRDs are not in {folder}; set RAYSPLIT_KUBERAY_CRDS to their folder")
    [version] = [one for one in json.loads(path.read_text())["spec"]["versions"] if one["name"] == "v1"]
    validator = jsonschema.Draft202012Validator(closed(version["schema"]["openAPIV3Schema"]))
    assert [error.message for error in validator.iter_errors(yaml.safe_load(TEXT))] == []
    for old, new in (("minReplicas", "minReplica"), ("httpGet", "httpget"), ('num-cpus: "0"', "num-cpus: 0")):
        assert any(True for _ in validator.iter_errors(yaml.safe_load(changed(old, new)))), new


def test_a_group_of_pods_for_each_deployment(service):
    config, cluster = yaml.safe_load(service["serveConfigV2"]), service["rayClusterConfig"]
    deployments = {entry["name"]: entry for entry in config["applications"][0]["deployments"]}
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert list(deployments) == ["Ingress", "submodel-0", "submodel-1", "submodel-2"]
    assert [name.lower() for name in deployments] == list(groups)
    for name, deployment in deployments.items():
        group = groups[name.lower()]
        # As many pods as replicas; a pod offers what one replica of this deployment takes, and no other pod does.
        assert deployment["ray_actor_options"]["resources"] == {name.lower(): 1}
        assert group["resources"] == {name.lower(): "1"}
        assert deployment["num_replicas"] == group["replicas"] == group["minReplicas"] == group["maxReplicas"] >= 1


def test_pods(service):
    cluster = service["rayClusterConfig"]
    head, workers = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    for group in (head, *workers):
        [container] = group["template"]["spec"]["containers"]
        assert container["image"].rpartition(":")[2] == cluster["rayVersion"]
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        [key] = container["env"]
        assert key["name"] == "RAYSPLIT_API_KEY" and "secretKeyRef" in key["valueFrom"]
    for group in workers:
        [container] = group["template"]["spec"]["containers"]
        assert container["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": 8000}
        assert container["livenessProbe"]["httpGet"]["path"] == "/api/healthz"
    assert re.search(r"(key|secret|token)\S*\s*[:=]\s*['\"]?[0-9a-f]{16}", TEXT) is None


@pytest.mark.parametrize("submodels", [1, 10])
def test_any_number_of_submodels(submodels, tmp_path):
    text = render_manifest(submodels, "s3://bucket/a: b #c", "localhost:5000/x/y:2.61.1-py312")
    (tmp_path / "service.yaml").write_text(text, encoding="utf-8")
    assert check_file(str(tmp_path / "service.yaml")) == []
    spec = yaml.safe_load(text)["spec"]
    assert spec["rayClusterConfig"]["rayVersion"] == "2.61.1"
    assert len(spec["rayClusterConfig"]["workerGroupSpecs"]) == submodels + 1
    assert yaml.safe_load(spec["serveConfigV2"])["applications"][0]["args"]["bundle"] == "s3://bucket/a: b #c"


@pytest.mark.parametrize("image", ["raysplit", "raysplit:latest", "raysplit:2.60", "a b:2.60.0", "x@sha256:2.60.0"])
def test_an_image_without_its_ray_version(image):
    with pytest.raises(ConfigError, match="does not begin with its Ray version; tag it like raysplit:2.60.0"):
        render_manifest(3, "/bundle", image)
