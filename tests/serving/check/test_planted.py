"""Planted faults over all kinds of files: each is named once, with its path and a remedy, and nothing else is."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysplit.containers.gateway import render_gateway
from raysplit.containers.kustomize import OVERLAYS, write_kustomize
from raysplit.containers.policies import render_disruption_budgets, render_network_policies, render_redis
from raysplit.containers.rayservice import render_rayservice
from raysplit.containers.serve_config import ServingOptions
from raysplit.serving.check import check_file
from tests.containers.apps import application
from tests.serving.check.configs import findings_in

SERVICE = yaml.safe_load(render_rayservice(application(2), ServingOptions({})))
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
JOB: dict[str, Any] = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"name": "train"},
    "spec": {
        "entrypoint": "python jobs/demo.py",
        "runtimeEnvYAML": "env_vars: {A: '1'}\n",
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 600,
        "rayClusterSpec": CLUSTER,
    },
}
RAYCLUSTER = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "cluster"}, "spec": CLUSTER}
NETWORK, CLIENTS = yaml.safe_load_all(render_network_policies("ensemble", "ingress"))
INGRESS = list(yaml.safe_load_all(render_gateway("ensemble", "raysplit:2.60.0", "shop.example.com")))[1]
BUDGET, _ = yaml.safe_load_all(render_disruption_budgets(application(2)))
REDIS, CLAIM, REDIS_SERVICE = yaml.safe_load_all(render_redis(application(2)))
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "raysplit-redis"}, "stringData": {"password": "x"}}

Spot = tuple[str | int, ...]
HEAD: Spot = ("spec", "rayClusterConfig", "headGroupSpec")
WORKER: Spot = ("spec", "rayClusterConfig", "workerGroupSpecs", 1)
POD: Spot = (*WORKER, "template", "spec")
CONTAINER: Spot = (*POD, "containers", 0)
JOB_WORKER: Spot = ("spec", "rayClusterSpec", "workerGroupSpecs", 0)
REDIS_POD: Spot = ("spec", "template", "spec")
BACKEND: Spot = ("spec", "rules", 0, "http", "paths", 0, "backend", "service")


def path_of(spot: Spot) -> str:
    text = ""
    for part in spot:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def plant(manifest: dict[str, Any], spot: Spot, value: Any) -> dict[str, Any]:
    """Return a manifest with another value at a place; None removes it."""
    changed = copy.deepcopy(manifest)
    inner: Any = changed
    for part in spot[:-1]:
        inner = inner[part]
    if value is None:
        del inner[spot[-1]]
    else:
        inner[spot[-1]] = value
    return changed


def config(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Return the service with a changed Serve config."""
    inside = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
    change(inside)
    return plant(SERVICE, ("spec", "serveConfigV2"), yaml.safe_dump(inside))


def deployments(inside: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = inside["applications"][0]["deployments"]
    return found


APP = "spec.serveConfigV2.applications[0]"
PLANTED: list[tuple[str, list[dict[str, Any]], str, str]] = [
    # RayService: its CRD
    ("a misspelled key", [plant(SERVICE, (*WORKER, "groupNam"), "x")], f"{path_of(WORKER)}.groupNam", "groupName"),
    ("a number as text", [plant(SERVICE, (*WORKER, "replicas"), "1")], f"{path_of(WORKER)}.replicas", "whole number"),
    (
        "text as a number",
        [plant(SERVICE, (*HEAD, "rayStartParams"), {"num-cpus": 0})],
        f"{path_of(HEAD)}.rayStartParams.num-cpus",
        "in quotes",
    ),
    ("no group's name", [plant(SERVICE, (*WORKER, "groupName"), None)], f"{path_of(WORKER)}.groupName", "is required"),
    (
        "an unknown mode",
        [plant(SERVICE, ("spec", "rayClusterConfig", "authOptions", "mode"), "tokens")],
        "spec.rayClusterConfig.authOptions.mode",
        "Nearest: token",
    ),
    ("an old API", [plant(SERVICE, ("apiVersion",), "ray.io/v1alpha2")], "apiVersion", "ray.io/v1"),
    ("a foreign manager", [plant(SERVICE, ("spec", "managedBy"), "me")], "spec.managedBy", "must be either"),
    (
        "an unknown part of a pod",
        [plant(SERVICE, (*CONTAINER, "readynessProbe"), {})],
        f"{path_of(CONTAINER)}.readynessProbe",
        "readinessProbe",
    ),
    # RayService: what the operator refuses or ignores
    ("a long name", [plant(SERVICE, ("metadata", "name"), "a" * 60)], "metadata.name", "shorten it"),
    ("a name in capitals", [plant(SERVICE, ("metadata", "name"), "Digits")], "metadata.name", "lower-case"),
    (
        "an unknown upgrade",
        [plant(SERVICE, ("spec", "upgradeStrategy"), {"type": "NewClusters"})],
        "spec.upgradeStrategy.type",
        "NewCluster",
    ),
    (
        "an upgrade without options",
        [
            plant(
                plant(SERVICE, ("spec", "upgradeStrategy"), {"type": "NewClusterWithIncrementalUpgrade"}),
                ("spec", "rayClusterConfig", "enableInTreeAutoscaling"),
                True,
            )
        ],
        "spec.upgradeStrategy.clusterUpgradeOptions",
        "add it",
    ),
    (
        "fewer pods than the least",
        [plant(SERVICE, (*WORKER, "minReplicas"), 3)],
        f"{path_of(WORKER)}.minReplicas",
        "maxReplicas 1",
    ),
    (
        "more pods than the most",
        [plant(SERVICE, (*WORKER, "replicas"), 4)],
        f"{path_of(WORKER)}.replicas",
        "maxReplicas 1",
    ),
    (
        "two groups of a name",
        [plant(SERVICE, (*WORKER, "groupName"), "ingress")],
        f"{path_of(WORKER)}.groupName",
        "rename",
    ),
    (
        "a request above its limit",
        [plant(SERVICE, (*CONTAINER, "resources", "requests", "cpu"), "4")],
        f"{path_of(CONTAINER)}.resources.requests.cpu",
        "raise the limit",
    ),
    (
        "options of no autoscaler",
        [plant(SERVICE, ("spec", "rayClusterConfig", "autoscalerOptions"), {"idleTimeoutSeconds": 60})],
        "spec.rayClusterConfig.autoscalerOptions",
        "enableInTreeAutoscaling",
    ),
    (
        "Redis nowhere",
        [plant(SERVICE, ("spec", "rayClusterConfig", "gcsFaultToleranceOptions"), {})],
        "spec.rayClusterConfig.gcsFaultToleranceOptions.redisAddress",
        "is required",
    ),
    (
        "tokens before Ray had them",
        [
            plant(
                plant(SERVICE, ("spec", "rayClusterConfig", "rayVersion"), "2.50.0"),
                (*HEAD, "template", "spec", "containers", 0, "image"),
                "example.com/x:1",
            )
        ],
        "spec.rayClusterConfig.authOptions.mode",
        "2.52",
    ),
    (
        "tokens of Kubernetes in a service",
        [plant(SERVICE, ("spec", "rayClusterConfig", "authOptions", "enableK8sTokenAuth"), True)],
        "spec.rayClusterConfig.authOptions.enableK8sTokenAuth",
        "remove it",
    ),
    # The Serve config in it, and both halves together
    (
        "an unknown argument",
        [config(lambda c: c["applications"][0]["args"].update(mising="drop"))],
        f"{APP}.args.mising",
        "missing",
    ),
    (
        "no such deployment",
        [config(lambda c: deployments(c)[1].update(name="submodel-O"))],
        f"{APP}.deployments[1].name",
        "Nearest",
    ),
    (
        "a resource of nobody",
        [config(lambda c: deployments(c)[1]["ray_actor_options"].update(resources={"submodel_0": 1}))],
        f"{APP}.deployments[1].ray_actor_options.resources.submodel_0",
        "submodel-0",
    ),
    (
        "more replicas than pods",
        [config(lambda c: deployments(c)[1].update(num_replicas=3))],
        f"{APP}.deployments[1].num_replicas",
        "maxReplicas",
    ),
    (
        "another port",
        [plant(SERVICE, (*CONTAINER, "readinessProbe", "httpGet", "port"), 8001)],
        f"{path_of(CONTAINER)}.readinessProbe.httpGet.port",
        "set 8000",
    ),
    (
        "another Ray than in the image",
        [plant(SERVICE, ("spec", "rayClusterConfig", "rayVersion"), "2.59.0")],
        "spec.rayClusterConfig.rayVersion",
        "2.60.0",
    ),
    (
        "a key that nobody sets",
        [config(lambda c: c["applications"][0]["args"].update(access={"api_key_env": "KEY"}))],
        f"{APP}.args.access.api_key_env",
        "RAYSPLIT_API_KEY",
    ),
    # Names across manifests
    (
        "a Secret that is not there",
        [plant(SERVICE, (*CONTAINER, "env", 0, "valueFrom", "secretKeyRef", "name"), "raysplt")],
        f"{path_of(CONTAINER)}.env[0].valueFrom.secretKeyRef.name",
        "raysplit",
    ),
    (
        "a volume that is not there",
        [plant(SERVICE, (*CONTAINER, "volumeMounts", 0, "name"), "temp")],
        f"{path_of(CONTAINER)}.volumeMounts[0].name",
        "tmp",
    ),
    (
        "a claim that is not there",
        [plant(REDIS, (*REDIS_POD, "volumes", 0, "persistentVolumeClaim", "claimName"), "redis"), CLAIM, SECRET],
        "documents[0].spec.template.spec.volumes[0].persistentVolumeClaim.claimName",
        "ensemble-redis",
    ),
    (
        "a policy for no pod",
        [SERVICE, plant(NETWORK, ("spec", "podSelector", "matchLabels"), {"app.kubernetes.io/part-of": "ensembel"})],
        "documents[1].spec.podSelector",
        "ensemble",
    ),
    (
        "a budget for no pod",
        [SERVICE, plant(BUDGET, ("spec", "selector", "matchLabels", "raysplit.io/role"), "ingres")],
        "documents[1].spec.selector",
        "ingress",
    ),
    (
        "a Service of no pod",
        [REDIS, CLAIM, SECRET, plant(REDIS_SERVICE, ("spec", "selector", "raysplit.io/group"), "cache")],
        "documents[3].spec.selector",
        "redis",
    ),
    ("two of a name", [SERVICE, CLIENTS, CLIENTS], "documents[2].metadata.name", "rename or remove"),
    # Kubernetes' own kinds
    (
        "a misspelled key of a policy",
        [SERVICE, plant(CLIENTS, ("spec", "policyType"), ["Ingress"])],
        "documents[1].spec.policyType",
        "policyTypes",
    ),
    (
        "a port as text",
        [SERVICE, plant(CLIENTS, ("spec", "ingress", 0, "ports", 0, "endPort"), "x")],
        "documents[1].spec.ingress[0].ports[0].endPort",
        "whole number",
    ),
    (
        "a Deployment without a selector",
        [plant(REDIS, ("spec", "selector"), None), CLAIM, SECRET],
        "documents[0].spec.selector",
        "is required",
    ),
    ("a kind of no API", [SERVICE, {**CLIENTS, "kind": "NetworkPolicies"}], "documents[1].kind", "correct one of them"),
    # RayJob and RayCluster
    ("a job without a command", [plant(JOB, ("spec", "entrypoint"), None)], "spec.entrypoint", "python jobs/demo.py"),
    (
        "a job of two clusters",
        [plant(JOB, ("spec", "clusterSelector"), {"ray.io/cluster": "x"})],
        "spec.clusterSelector",
        "remove one",
    ),
    (
        "a job's environment",
        [plant(JOB, ("spec", "runtimeEnvYAML"), "env_var: {}\n")],
        "spec.runtimeEnvYAML.env_var",
        "env_vars",
    ),
    (
        "a job that is not deleted",
        [plant(JOB, ("spec", "shutdownAfterJobFinishes"), None)],
        "spec.ttlSecondsAfterFinished",
        "shutdownAfterJobFinishes",
    ),
    (
        "a rule of a job",
        [plant(JOB, ("spec", "deletionStrategy"), {"onSuccess": {"policy": "DeleteCluster"}})],
        "spec.deletionStrategy",
        "requires either BOTH",
    ),
    (
        "a job's pods",
        [plant(JOB, (*JOB_WORKER, "maxReplicas"), 0)],
        f"{path_of(JOB_WORKER)}.minReplicas",
        "maxReplicas 0",
    ),
    # Ingress
    (
        "another service",
        [plant(INGRESS, (*BACKEND, "name"), "ensemble-svc"), SERVICE],
        f"documents[0].{path_of(BACKEND)}.name",
        "Nearest: ensemble-",
    ),
    (
        "a port of a service",
        [plant(INGRESS, (*BACKEND, "port"), {"number": 80}), SERVICE],
        f"documents[0].{path_of(BACKEND)}.port",
        "it has 8000, serve",
    ),
    (
        "a port's name",
        [plant(INGRESS, BACKEND, {"name": "ensemble-redis", "port": {"name": "http"}}), REDIS_SERVICE],
        f"documents[0].{path_of(BACKEND)}.port",
        "6379, redis",
    ),
    ("a certificate", [INGRESS, SECRET], "documents[0].spec.tls[0].secretName", "no Secret 'ensemble-tls'"),
    (
        "a misspelled key of a cluster",
        [plant(RAYCLUSTER, ("spec", "workerGroupSpec"), [])],
        "spec.workerGroupSpec",
        "workerGroupSpecs",
    ),
]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_there_are_forty():
    assert len(PLANTED) >= 40 and len({name for name, *_ in PLANTED}) == len(PLANTED)


@pytest.mark.parametrize(("manifests", "path", "remedy"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED])
def test_a_planted_fault_is_named(manifests, path, remedy):
    found = findings_in(yaml.safe_dump_all(manifests))
    named = [finding for finding in found if finding.startswith(f"{path}: ")]
    assert len(named) == 1 and remedy in named[0], found


@pytest.mark.parametrize(
    "manifests",
    [[SERVICE], [JOB], [RAYCLUSTER], [REDIS, CLAIM, REDIS_SERVICE, SECRET], [SERVICE, NETWORK, CLIENTS, BUDGET]],
    ids=["service", "job", "cluster", "redis", "policies"],
)
def test_what_they_were_planted_in_is_right(manifests):
    assert findings_in(yaml.safe_dump_all(manifests)) == []


def test_a_change_of_both_halves(tmp_path):
    Path("now.yaml").write_text(yaml.safe_dump(SERVICE))
    other = config(lambda c: c["applications"][0]["args"].update(branch_timeout_s=3))
    Path("config.yaml").write_text(yaml.safe_dump(other))
    assert check_file("config.yaml", "now.yaml") == []
    Path("both.yaml").write_text(yaml.safe_dump(plant(other, (*CONTAINER, "image"), "example.com/raysplit:2.60.0")))
    [found] = check_file("both.yaml", "now.yaml")
    assert found.path == "spec" and "changes serveConfigV2 and rayClusterConfig at once" in found.message
    Path("moved.yaml").write_text(yaml.safe_dump(plant(SERVICE, ("spec", "managedBy"), "ray.io/kuberay-operator")))
    Path("was.yaml").write_text(yaml.safe_dump(plant(SERVICE, ("spec", "managedBy"), "kueue.x-k8s.io/multikueue")))
    [found] = check_file("moved.yaml", "was.yaml")
    assert found.path == "spec.managedBy" and "immutable" in found.message


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_folders_of_kustomize(tmp_path):
    write_kustomize(application(2), str(tmp_path / "k8s"))
    for overlay in OVERLAYS:
        assert check_file(str(tmp_path / "k8s/overlays" / overlay)) == []
    [found] = check_file(str(tmp_path / "k8s"))
    assert "is a folder without a kustomization.yaml. Nearest: " in found.message and "overlays/dev" in found.message
    patch = tmp_path / "k8s/overlays/dev/rayservice.yaml"
    patch.write_text("- op: replace\n  path: /spec/nothing/0\n  value: 1\n")
    [found] = check_file(str(tmp_path / "k8s/overlays/dev"))
    assert "cannot be built" in found.message
