from __future__ import annotations

from pathlib import Path

import yaml

from raysplit.cli.main import main
from raysplit.ensemble.bundle import load_ensemble


def test_a_rayservice_is_printed(capsys, bundle, fail):
    assert main(["kuberay", bundle, "--images", "registry.example.com/raysplit", "--name", "digits"]) == 0
    service = yaml.safe_load(capsys.readouterr().out)
    assert service["kind"] == "RayService" and service["metadata"]["name"] == "digits"
    images = {
        group["template"]["spec"]["containers"][0]["image"]
        for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    }
    tag = f"2.60.0-{load_ensemble(bundle).id[:12]}"
    parts = ["server", *(f"submodel-{index}" for index in range(3))]
    assert images == {f"registry.example.com/raysplit-{part}:{tag}" for part in parts}
    assert "'raysplit:1' cannot begin the name of an image" in fail("kuberay", bundle, "--images", "raysplit:1")
    assert "'Digits' is no name for Kubernetes" in fail("kuberay", bundle, "--name", "Digits")


def test_a_group_of_pods_per_device(capsys, bundle):
    assert main(["kuberay", bundle, "--per", "device"]) == 0
    groups = yaml.safe_load(capsys.readouterr().out)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    devices = dict.fromkeys(entry.device for entry in load_ensemble(bundle).manifest.submodels)
    assert [group["groupName"] for group in groups] == ["ingress", *devices]


def test_a_folder_is_written(capsys, bundle, tmp_path):
    assert main(["kuberay", bundle, "-o", str(tmp_path / "k8s")]) == 0
    listed = capsys.readouterr().out.splitlines()
    written = sorted(str(path) for path in Path(tmp_path).rglob("*.yaml"))
    assert listed == written and f"{tmp_path}/k8s/overlays/edge/kustomization.yaml" in listed
