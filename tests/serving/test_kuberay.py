"""The RayService: what is shipped is what the code writes, Kubernetes takes it, and its traps are found."""

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
from raysplit.serving.kuberay import manifest

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "serve_configs" / "kuberay-ensemble.yaml"
TEXT = SHIPPED.read_text(encoding="utf-8")
IMAGE = "registry.example.com/raysplit:2.60.0"
APP = "spec.serveConfigV2.applications[0]"


@pytest.fixture(scope="module")
def service():
    return yaml.safe_load(TEXT)["spec"]


@pytest.fixture
def findings_in(tmp_path, monkeypatch):
    """Return a function that checks a text as a file."""
    monkeypatch.chdir(tmp_path)

    def check(text: str) -> list[str]:
        Path("service.yaml").write_text(text, encoding="utf-8")
        return [str(finding) for finding in check_file("service.yaml")]

    return check


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def closed(schema: Any) -> Any:
    """Return an OpenAPI schema in which objects with properties have no others, as the API server has it."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        shut.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        shut["type"] = ["integer", "string"]
    return shut


def test_the_shipped_file_is_what_is_written():
    assert manifest(3, "/bundles/mnist5k_vit_n3", IMAGE) == TEXT


def test_kubernetes_takes_it():
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
    rows = {row["name"]: row for row in config["applications"][0]["deployments"]}
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert list(rows) == ["Ingress", "submodel-0", "submodel-1", "submodel-2"]
    assert [name.lower() for name in rows] == list(groups)
    for name, row in rows.items():
        group = groups[name.lower()]
        # As many pods as replicas, each of which offers what one replica takes, and no other pod does.
        assert row["ray_actor_options"]["resources"] == {name.lower(): 1}
        assert group["resources"] == {name.lower(): "1"}
        assert row["num_replicas"] == group["replicas"] == group["minReplicas"] == group["maxReplicas"] >= 1


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
def test_any_number_of_submodels(submodels, findings_in):
    text = manifest(submodels, "s3://bucket/a: b #c", "localhost:5000/x/y:2.61.1-py312")
    assert findings_in(text) == []
    spec = yaml.safe_load(text)["spec"]
    assert spec["rayClusterConfig"]["rayVersion"] == "2.61.1"
    assert len(spec["rayClusterConfig"]["workerGroupSpecs"]) == submodels + 1
    assert yaml.safe_load(spec["serveConfigV2"])["applications"][0]["args"]["bundle"] == "s3://bucket/a: b #c"


@pytest.mark.parametrize("image", ["raysplit", "raysplit:latest", "raysplit:2.60", "a b:2.60.0", "x@sha256:2.60.0"])
def test_an_image_that_does_not_tell_its_ray(image):
    with pytest.raises(ConfigError, match="does not tell its Ray version; tag it with that, like raysplit:2.60.0"):
        manifest(3, "/bundle", image)


def test_the_shipped_file_is_clean():
    assert check_file(str(SHIPPED)) == []


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("route_prefix: /", "route_prefx: /", f"{APP}.route_prefx", "Nearest: route_prefix"),
        ("missing: drop", "mising: drop", f"{APP}.args.mising", "Nearest: missing"),
        ("- name: submodel-0", "- name: submodl-0", f"{APP}.deployments[1].name", "Nearest: submodel-2, submodel-1"),
        ("api_key_env: RAYSPLIT_API_KEY", "anyone: false", f"{APP}.args.access", "http_options.host is 0.0.0.0"),
        (
            "resources: {submodel-1: 1}",
            "resources: {submodel1: 1}",
            f"{APP}.deployments[2].ray_actor_options.resources.submodel1",
            "no group of pods offers 'submodel1'. Nearest: submodel-1",
        ),
        (
            "api_key_env: RAYSPLIT_API_KEY",
            "api_key_env: RAYSPLIT_KEY",
            f"{APP}.args.access.api_key_env",
            "no container sets 'RAYSPLIT_KEY'; take it from a Secret in `env`. Nearest: RAYSPLIT_API_KEY",
        ),
        ("serveConfigV2: |", "serveConfigV2:", "spec.serveConfigV2", "must be text, a Serve config"),
        ("    applications:\n", "    applications: [\n", "spec.serveConfigV2", "line 6, column 3: "),
        (
            "    http_options:\n",
            "    ---\n    ---\n    http_options:\n",
            "spec.serveConfigV2",
            "holds 2 documents, not one Serve config",
        ),
        (
            "serveConfigV2: |\n",
            "serveConfigV2: ''\n  other: |\n",
            "spec.serveConfigV2",
            "holds 0 documents, not one Serve config",
        ),
        ("kind: RayService", "kind: RayCluster", "holds no Serve config", "RayCluster; one is in a RayService"),
    ],
)
def test_one_fault(old, new, path, message, findings_in):
    found = findings_in(changed(old, new))
    assert len(found) == 1 and found[0].startswith(f"{path}: ") and message in found[0], found


@pytest.mark.parametrize("resources", ["""'"{\\"submodel-0\\": 1}"'""", """'{"submodel-0": 1}'"""])
def test_resources_among_the_start_parameters(resources, findings_in):
    old = 'resources: {submodel-0: "1"}'
    assert findings_in(changed(old, f"rayStartParams: {{resources: {resources}}}")) == []
    first, second = findings_in(changed(old, "rayStartParams: {resources: 'submodel-0: 1'}"))
    where = "spec.rayClusterConfig.workerGroupSpecs[1].rayStartParams.resources"
    assert first.startswith(f'{where}: is not resources as JSON; write \'"{{\\"NAME\\": 1}}"\'')
    assert "no group of pods offers 'submodel-0'" in second


def test_several_manifests_in_a_file(findings_in):
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: raysplit}\n---\n"
    assert findings_in(secret + TEXT) == []
    [found] = findings_in(secret + changed("missing: drop", "missing: skip"))
    assert found.startswith(f"documents[1].{APP}.args.missing: ")
