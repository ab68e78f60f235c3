"""Replicas that the pods of a RayService cannot hold, and those that they can."""

from __future__ import annotations

import pytest
import yaml

from raysplit.serving.check.pods import parse_quantity
from tests.serving.check.configs import RAYSERVICE, changed, findings_in

DEPLOYMENTS = "spec.serveConfigV2.applications[0].deployments"
INGRESS, SUBMODEL = "{num_cpus: 1, resources: {ingress: 1}}", "{num_cpus: 1, resources: {submodel-0: 1}}"
WORKERS = "spec.rayClusterConfig.workerGroupSpecs"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Run every test in a folder without bundles."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        (
            INGRESS,
            "{num_cpus: 3, resources: {ingress: 1}}",
            f"{DEPLOYMENTS}[0].ray_actor_options.num_cpus",
            "no pod can hold a replica, which takes num_cpus 3, ingress 1: the nearest, of group 'ingress', has "
            f"num_cpus 2. Lower it, or raise limits.cpu in {WORKERS}[0]",
        ),
        (
            INGRESS,
            "{num_cpus: 1, memory: 6442450944, resources: {ingress: 1}}",
            f"{DEPLOYMENTS}[0].ray_actor_options.memory",
            "takes num_cpus 1, memory 6 GiB, ingress 1: the nearest, of group 'ingress', has memory 3 GiB",
        ),
        (
            INGRESS,
            "{num_cpus: 1, resources: {ingress: 0.5, submodel-0: 0.5}}",
            f"{DEPLOYMENTS}[0].ray_actor_options.resources.submodel-0",
            "the nearest, of group 'ingress', has submodel-0 0",
        ),
        (
            INGRESS,
            "{num_cpus: 1, resources: {ingress: 2}}",
            f"{DEPLOYMENTS}[0].ray_actor_options.resources.ingress",
            "has ingress 1. Lower it, or raise resources.ingress in",
        ),
        (
            SUBMODEL,
            "{num_cpus: 1, num_gpus: 1, resources: {submodel-0: 1}}",
            f"{DEPLOYMENTS}[1].ray_actor_options.num_gpus",
            f"""but no pod has a GPU; set limits."nvidia.com/gpu" of a container in {WORKERS}[3], or remove num_gpus""",
        ),
        (
            SUBMODEL,
            "{num_gpus: 0.5}",
            f"{DEPLOYMENTS}[1].ray_actor_options.num_gpus",
            "a replica takes 0.5, but no pod has a GPU",
        ),
        (
            "num_replicas: 2",
            "num_replicas: 3",
            f"{DEPLOYMENTS}[0].num_replicas",
            "3 replicas do not fit: the pods that can hold them are 2 of group 'ingress' with 1 each. Set at most 2, "
            f"or raise maxReplicas of {WORKERS}[0]",
        ),
        (
            "num_replicas: 2",
            "autoscaling_config: {min_replicas: 3, max_replicas: 3}",
            f"{DEPLOYMENTS}[0].autoscaling_config.min_replicas",
            "3 replicas do not fit",
        ),
        (
            "num_replicas: 2",
            "autoscaling_config: {min_replicas: 1, max_replicas: 5}",
            f"{DEPLOYMENTS}[0].autoscaling_config.max_replicas",
            "5 replicas do not fit",
        ),
        (
            "name: submodel-1\n            num_replicas: 1\n            ray_actor_options: {num_cpus: 1, resources: "
            "{submodel-1: 1}}",
            "name: submodel-1\n            num_replicas: 1\n            ray_actor_options: {num_cpus: 1, resources: "
            "{submodel-0: 1}}",
            "spec.serveConfigV2.applications",
            "all replicas of submodel-0, submodel-1 take submodel-0 2, but the pods that can hold them, of "
            "'submodel-0', have 1",
        ),
        (
            SUBMODEL,
            "{num_cpus: 1, label_selector: {raysplit.io/group: submodel-0}}",
            f"{DEPLOYMENTS}[1].ray_actor_options.label_selector.raysplit.io/group",
            "no group of pods has the label raysplit.io/group: submodel-0. Add it to `labels` of one.",
        ),
        (
            SUBMODEL,
            "{num_cpus: 1, label_selector: {ray.io/node-group: submodel-9}}",
            f"{DEPLOYMENTS}[1].ray_actor_options.label_selector.ray.io/node-group",
            "Nearest: ray.io/node-group: submodel-",
        ),
        (
            SUBMODEL,
            "{num_cpus: 1, resources: {submodel-0: 1}, label_selector: {ray.io/node-group: submodel-1}}",
            f"{DEPLOYMENTS}[1].ray_actor_options.resources.submodel-0",
            "the nearest, of group 'submodel-1', has submodel-0 0",
        ),
        (
            SUBMODEL,
            "{num_cpus: 1, label_selector: {ray.io/node-group: '!submodel-0', zone: '!a'}, resources: {submodel-0: 1}}",
            f"{DEPLOYMENTS}[1].ray_actor_options.resources.submodel-0",
            "no pod can hold a replica",
        ),
    ],
)
def test_replicas_without_room(old, new, path, message):
    found = findings_in(changed(old, new, RAYSERVICE))
    assert len(found) == 1 and found[0].startswith(f"{path}: ") and message in found[0], found


@pytest.mark.parametrize(
    ("deployment", "group"),
    [
        ({"ray_actor_options": {"num_cpus": 2}}, {}),
        ({"ray_actor_options": {"num_gpus": 1}}, {"limits": {"cpu": "2", "nvidia.com/gpu": "1"}}),
        ({"ray_actor_options": {"num_gpus": 1}}, {"limits": {"nvidia.com/mig-1g.5gb": 1}}),
        ({"ray_actor_options": {"resources": {"TPU": 4}}}, {"limits": {"google.com/tpu": "4"}}),
        ({"ray_actor_options": {"num_cpus": 9}}, {"limits": {}}),  # as many as the machine has
        ({"ray_actor_options": {"num_cpus": 9}}, {"params": {"num-cpus": "16"}}),
        ({"ray_actor_options": {"num_cpus": 9}}, {"resources": {"CPU": "16"}}),
        ({"ray_actor_options": {"num_cpus": 1}}, {"limits": {"cpu": "500m"}}),  # KubeRay rounds up
        ({"num_replicas": "auto", "ray_actor_options": {"num_cpus": 1}}, {}),
        ({"num_replicas": 3, "ray_actor_options": {"num_cpus": 2}}, {"scaled": True}),
        ({"num_replicas": 9}, {}),  # what a replica takes is said in code
        ({"ray_actor_options": {"label_selector": {"zone": "in(a,b)"}}}, {"labels": {"zone": "b"}}),
        ({"ray_actor_options": {"label_selector": {"zone": "!a"}}}, {"params": {"labels": "zone=b,disk=ssd"}}),
        ({"ray_actor_options": {"label_selector": {"ray.io/node-group": "w", "ray.io/market-type": "spot"}}}, {}),
        ({"ray_actor_options": {"num_cpus": 0.5, "resources": {"node:10.0.0.1": 0.1}}}, {}),
    ],
)
def test_replicas_that_fit(deployment, group):
    limits = group.get("limits", {"cpu": "2", "memory": "3Gi"})
    container = {"name": "ray-worker", "image": "rayproject/ray:2.60.0", "resources": {"limits": limits}}
    worker = {
        "groupName": "w",
        "replicas": 1,
        "minReplicas": 1,
        "maxReplicas": 3,
        "rayStartParams": group.get("params", {}),
    }
    worker |= {"labels": group.get("labels", {}), "resources": group.get("resources", {})}
    worker |= {"template": {"spec": {"containers": [container]}}}
    ports = [{"name": "serve", "containerPort": 8000}]
    head = {
        "rayStartParams": {"num-cpus": "0"},
        "template": {"spec": {"containers": [{"name": "h", "image": "x", "ports": ports}]}},
    }
    cluster = {"headGroupSpec": head, "workerGroupSpecs": [worker], "enableInTreeAutoscaling": "scaled" in group}
    app = {"import_path": "mine:app", "deployments": [{"name": "D"} | deployment]}
    config = yaml.safe_dump({"http_options": {"request_timeout_s": 9}, "applications": [app]})
    spec = {"serveConfigV2": config, "rayClusterConfig": cluster}
    manifest = {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": "s"}, "spec": spec}
    assert findings_in(yaml.safe_dump(manifest)) == []


def test_quantities():
    assert [parse_quantity(text) for text in ("1e3", ".5", "1.5Gi", "2Q", "", None)] == [1e3, 0.5, 1.5 * 2**30] + [
        None
    ] * 3
