"""The folder for `kubectl apply -k`: as it was when it was looked at, and what Kustomize and the check make of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from raysplit.containers.kustomize import OVERLAYS, render_kustomize, write_kustomize
from raysplit.containers.rayservice import render_rayservice
from raysplit.containers.serve_config import ServingOptions
from raysplit.errors import ConfigError
from raysplit.serving.check import check_file
from tests.containers.apps import application, on_devices

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/assets/kustomize"
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def build(folder: Path, overlay: str) -> str:
    command = ["kubectl", "kustomize", str(folder / "overlays" / overlay)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def rayservice(text: str) -> dict:
    return next(doc for doc in yaml.safe_load_all(text) if doc["kind"] == "RayService")


def test_the_files_are_those_that_were_looked_at():
    """`python -m tests.containers.test_kustomize` writes them anew."""
    kept = {str(path.relative_to(GOLDEN)): path.read_text() for path in GOLDEN.rglob("*.yaml")}
    assert render_kustomize(on_devices()) == kept


def test_the_shipped_rayservice():
    shipped = ROOT / "serve_configs/kuberay-ensemble.yaml"
    assert render_rayservice(application(), ServingOptions({})) == shipped.read_text()


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("app", [application(2), on_devices()], ids=["sub-models", "devices"])
def test_every_overlay_is_built_and_passes_the_check(app, overlay, tmp_path):
    write_kustomize(app, str(tmp_path))
    text = build(tmp_path, overlay)
    (tmp_path / "built.yaml").write_text(text)
    assert check_file(str(tmp_path / "built.yaml")) == []
    spec = rayservice(text)["spec"]
    groups = spec["rayClusterConfig"]["workerGroupSpecs"]
    config = yaml.safe_load(spec["serveConfigV2"])["applications"][0]
    for group, deployment, part in zip(groups, config["deployments"], app.parts, strict=True):
        assert group["groupName"] == part.group and deployment["name"] == part.deployment
        assert group["resources"] == {part.group: "1"}
        assert deployment["ray_actor_options"]["resources"] == {part.group: 1}
        scaling = deployment.get("autoscaling_config")
        expected = (scaling["min_replicas"], scaling["max_replicas"]) if scaling else (deployment["num_replicas"],) * 2
        assert (group["minReplicas"], group["maxReplicas"]) == expected
        [container] = group["template"]["spec"]["containers"]
        assert container["image"] == part.image and container["securityContext"]["readOnlyRootFilesystem"]
    assert spec["rayClusterConfig"]["enableInTreeAutoscaling"] is (overlay == "production")
    assert ("gcsFaultToleranceOptions" in spec["rayClusterConfig"]) is (overlay != "dev")


@needs_kubectl
def test_sub_models_at_the_edge_run_on_the_nodes_of_their_devices(tmp_path):
    write_kustomize(on_devices(), str(tmp_path))
    groups = rayservice(build(tmp_path, "edge"))["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    nodes = [group["template"]["spec"].get("nodeSelector") for group in groups]
    assert nodes == [None, {"raysplit.io/device": "camera"}, {"raysplit.io/device": "phone"}]


@needs_kubectl
def test_only_the_ingress_can_be_reached_from_elsewhere(tmp_path):
    write_kustomize(application(2), str(tmp_path))
    documents = list(yaml.safe_load_all(build(tmp_path, "production")))
    policies = {doc["metadata"]["name"]: doc["spec"] for doc in documents if doc["kind"] == "NetworkPolicy"}
    open_to_all = [spec for spec in policies.values() if any("from" not in rule for rule in spec["ingress"])]
    [spec] = open_to_all
    assert spec["podSelector"]["matchLabels"]["raysplit.io/group"] == "ingress"
    assert [rule["ports"] for rule in spec["ingress"]] == [[{"protocol": "TCP", "port": 8000}]]
    covered = policies["ensemble-cluster"]["podSelector"]["matchLabels"]
    cluster = rayservice(yaml.safe_dump_all(documents))["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert covered.items() <= group["template"]["metadata"]["labels"].items()


def test_a_folder_that_cannot_be_written_gets_no_file(tmp_path):
    (tmp_path / "k8s").write_text("")
    with pytest.raises(ConfigError, match="cannot write .* choose another location"):
        write_kustomize(application(), str(tmp_path / "k8s"))
    assert (tmp_path / "k8s").read_text() == ""


if __name__ == "__main__":
    shutil.rmtree(GOLDEN, ignore_errors=True)
    write_kustomize(on_devices(), str(GOLDEN))
    (ROOT / "serve_configs/kuberay-ensemble.yaml").write_text(render_rayservice(application(), ServingOptions({})))
