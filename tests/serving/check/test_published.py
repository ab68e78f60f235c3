"""What the samples of KubeRay have, in forms of our own: nothing in it is a problem."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.serving.check.configs import findings_in

Manifest = dict[str, Any]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def pod(name: str, version: str, limits: Manifest | None = None, **more: Any) -> Manifest:
    """Return the template of a pod with one container of Ray."""
    container = {"name": name, "image": f"rayproject/ray:{version}", **more.pop("container", {})}
    if limits is not None:
        container["resources"] = {"limits": limits, "requests": limits}
    return {"spec": {"containers": [container], **more}}


def ports(**numbers: int) -> Manifest:
    return {"ports": [{"name": name, "containerPort": number} for name, number in numbers.items()]}


def cluster(version: str, head: Manifest, worker: Manifest, **more: Any) -> Manifest:
    """Return the spec of a RayCluster with one group of workers."""
    group = {"groupName": "small-group", "replicas": 1, "minReplicas": 1, "maxReplicas": 5, "rayStartParams": {}}
    return {"rayVersion": version, "headGroupSpec": head, "workerGroupSpecs": [group | worker], **more}


def manifest(kind: str, name: str, spec: Manifest, api: str = "ray.io/v1", **about: Any) -> Manifest:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, **about}, "spec": spec}


def service(name: str, applications: list[Manifest], spec: Manifest, **more: Any) -> Manifest:
    config = yaml.safe_dump({"applications": applications})
    return manifest("RayService", name, {"serveConfigV2": config, "rayClusterConfig": spec, **more})


def deployment(name: str, replicas: int | None = 1, cpus: float = 0.1, **more: Any) -> Manifest:
    counted = {} if replicas is None else {"num_replicas": replicas}
    return {"name": name, "ray_actor_options": {"num_cpus": cpus}, **counted, **more}


ONE, TWO = {"cpu": "1", "memory": "2Gi"}, {"cpu": "2", "memory": "5Gi"}
STOP = {"lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", "ray stop"]}}}}
ARCHIVE = {"working_dir": "https://example.com/archive/78b4a5da.zip"}
RAY_PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001}
REDIS: list[Manifest] = [
    {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "redis-config"},
        "data": {"redis.conf": "port 6379"},
    },
    manifest("Service", "redis", {"ports": [{"name": "redis", "port": 6379}], "selector": {"app": "redis"}}, "v1"),
    manifest(
        "Deployment",
        "redis",
        {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "redis"}},
            "template": {
                "metadata": {"labels": {"app": "redis"}},
                "spec": {
                    "containers": [
                        {
                            "name": "redis",
                            "image": "redis:7.4.0",
                            "command": ["sh", "-c", "redis-server /usr/local/etc/redis/redis.conf"],
                            "volumeMounts": [
                                {"name": "config", "mountPath": "/usr/local/etc/redis.conf", "subPath": "redis.conf"}
                            ],
                        }
                    ],
                    "volumes": [{"name": "config", "configMap": {"name": "redis-config"}}],
                },
            },
        },
        "apps/v1",
    ),
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis-password"}, "data": {"password": "NTI0MTU5"}},
]
PASSWORD = {"valueFrom": {"secretKeyRef": {"name": "redis-password", "key": "password"}}}
BLOCKED = {"min_replicas": 1, "max_replicas": 14, "downscale_delay_s": 0, "look_back_period_s": 0.2}
SAMPLES: dict[str, list[Manifest]] = {
    "two applications, no port, no limit of time": [
        service(
            "rayservice-sample",
            [
                {
                    "name": "fruit_app",
                    "import_path": "fruit.deployment_graph",
                    "route_prefix": "/fruit",
                    "runtime_env": ARCHIVE,
                    "deployments": [
                        deployment("MangoStand", 2, max_replicas_per_node=1, user_config={"price": 3}),
                        deployment("FruitMarket"),
                    ],
                },
                {
                    "name": "math_app",
                    "import_path": "conditional_dag.serve_dag",
                    "route_prefix": "/calc",
                    "runtime_env": ARCHIVE,
                    "deployments": [{"name": "Router", "num_replicas": 1}],
                },
            ],
            cluster(
                "2.52.0",
                {"rayStartParams": {}, "template": pod("ray-head", "2.52.0", TWO)},
                {"template": pod("ray-worker", "2.52.0", ONE)},
            ),
        )
    ],
    "every deployment twice, with Redis": [
        service(
            "rayservice-ha",
            [
                {
                    "name": "fruit_app",
                    "import_path": "fruit.deployment_graph",
                    "route_prefix": "/fruit",
                    "runtime_env": ARCHIVE,
                    "deployments": [deployment(name, 2, max_replicas_per_node=1) for name in ("Mango", "Orange")],
                }
            ],
            cluster(
                "2.52.0",
                {"rayStartParams": {"num-cpus": "0"}, "template": pod("ray-head", "2.52.0", TWO)},
                {"replicas": 2, "template": pod("ray-worker", "2.52.0", ONE)},
                gcsFaultToleranceOptions={"redisAddress": "redis:6379", "redisPassword": PASSWORD},
            ),
        ),
        *REDIS,
    ],
    "an incremental upgrade, groups that start empty": [
        service(
            "rayservice-incremental-upgrade",
            [
                {
                    "name": "fruit_app",
                    "import_path": "fruit.deployment_graph",
                    "route_prefix": "/fruit",
                    "deployments": [
                        deployment("Mango", None, 0.5, autoscaling_config={"min_replicas": 1, "max_replicas": 3}),
                        deployment("Orange", 1, 0, max_ongoing_requests=100),
                    ],
                }
            ],
            cluster(
                "2.51.0",
                {
                    "rayStartParams": {"num-cpus": "0"},
                    "template": pod("ray-head", "2.51.0", TWO, container=ports(**RAY_PORTS, serve=8000)),
                },
                {"replicas": None, "minReplicas": 0, "template": pod("ray-worker", "2.51.0", ONE, container=STOP)},
                enableInTreeAutoscaling=True,
            ),
            upgradeStrategy={
                "type": "NewClusterWithIncrementalUpgrade",
                "clusterUpgradeOptions": {"gatewayClassName": "istio", "stepSizePercent": 10, "intervalSeconds": 30},
            },
        )
    ],
    "a service that scales": [
        service(
            "rayservice-scales",
            [
                {
                    "name": "app1",
                    "import_path": "autoscaling.blocked:app",
                    "route_prefix": "/",
                    "runtime_env": ARCHIVE,
                    "deployments": [
                        deployment("Blocked", None, 0.5, autoscaling_config=BLOCKED, graceful_shutdown_timeout_s=1)
                    ],
                },
                {"name": "signal", "import_path": "autoscaling.signaling:app", "route_prefix": "/signal"},
            ],
            cluster(
                "2.46.0",
                {
                    "rayStartParams": {},
                    "template": pod("ray-head", "2.46.0", TWO, container=ports(**RAY_PORTS, serve=8000)),
                },
                {"maxReplicas": 8, "template": pod("ray-worker", "2.46.0", ONE, container=STOP)},
                enableInTreeAutoscaling=True,
                autoscalerOptions={"upscalingMode": "Default", "resources": {"limits": ONE, "requests": ONE}},
            ),
        )
    ],
    "a job with its code in a ConfigMap": [
        manifest(
            "RayJob",
            "rayjob-sample",
            {
                "entrypoint": "python /home/ray/samples/sample_code.py",
                "runtimeEnvYAML": "pip:\n  - requests==2.26.0\nenv_vars:\n  counter_name: test_counter\n",
                "rayClusterSpec": cluster(
                    "2.46.0",
                    {
                        "rayStartParams": {},
                        "template": pod(
                            "ray-head",
                            "2.46.0",
                            {"cpu": "1"},
                            container=ports(**RAY_PORTS)
                            | {"volumeMounts": [{"mountPath": "/home/ray/samples", "name": "code-sample"}]},
                            volumes=[
                                {
                                    "name": "code-sample",
                                    "configMap": {
                                        "name": "code",
                                        "items": [{"key": "sample_code.py", "path": "sample_code.py"}],
                                    },
                                }
                            ],
                        ),
                    },
                    {"template": pod("ray-worker", "2.46.0", {"cpu": "1"}, container=STOP)},
                ),
            },
        ),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "code"},
            "data": {"sample_code.py": "import ray"},
        },
    ],
    "labels of groups": [
        manifest(
            "RayCluster",
            "ray-label-cluster",
            cluster(
                "2.49.0",
                {
                    "labels": {"ray.io/region": "us-central2"},
                    "resources": {"CPU": "0"},
                    "template": pod("ray-head", "nightly", TWO, container=ports(gcs=6379, dashboard=8265)),
                },
                {
                    "labels": {"cpu-family": "intel", "ray.io/market-type": "on-demand"},
                    "template": pod(
                        "ray-worker", "nightly", ONE, nodeSelector={"cloud.google.com/machine-family": "N4"}
                    ),
                },
                enableInTreeAutoscaling=True,
                autoscalerOptions={"version": "v2", "idleTimeoutSeconds": 600, "env": [], "envFrom": []},
            ),
        )
    ],
    "Redis by environment, and an old annotation": [
        manifest(
            "RayCluster",
            "raycluster-external-redis",
            cluster(
                "2.46.0",
                {
                    "rayStartParams": {"num-cpus": "0", "redis-password": "$REDIS_PASSWORD"},
                    "template": pod(
                        "ray-head",
                        "2.46.0",
                        {"cpu": "1"},
                        container={
                            "env": [
                                {"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"},
                                {"name": "REDIS_PASSWORD", **PASSWORD},
                            ],
                            "volumeMounts": [{"mountPath": "/tmp/ray", "name": "ray-logs"}],
                        },
                        volumes=[{"name": "ray-logs", "emptyDir": {}}],
                    ),
                },
                {"template": pod("ray-worker", "2.46.0", {"cpu": "1"})},
            ),
            annotations={"ray.io/ft-enabled": "true"},
        ),
        *REDIS,
    ],
    "an Ingress to the head": [
        manifest(
            "RayCluster",
            "raycluster-ingress",
            cluster(
                "2.46.0",
                {"rayStartParams": {}, "template": pod("ray-head", "2.46.0", container=ports(**RAY_PORTS))},
                {"replicas": 0, "minReplicas": 0, "template": pod("ray-worker", "2.46.0")},
            ),
        ),
        manifest(
            "Ingress",
            "raycluster-ingress-head-ingress",
            {
                "ingressClassName": "nginx",
                "rules": [
                    {
                        "http": {
                            "paths": [
                                {
                                    "path": "/raycluster-ingress/(.*)",
                                    "pathType": "Exact",
                                    "backend": {
                                        "service": {"name": "raycluster-ingress-head-svc", "port": {"number": 8265}}
                                    },
                                }
                            ]
                        }
                    }
                ],
            },
            "networking.k8s.io/v1",
            annotations={"nginx.ingress.kubernetes.io/rewrite-target": "/$1"},
        ),
    ],
    "TLS by init containers": [
        manifest(
            "RayCluster",
            "raycluster-tls",
            cluster(
                "2.52.0",
                {
                    "rayStartParams": {},
                    "template": pod(
                        "ray-head",
                        "2.52.0",
                        TWO,
                        container={
                            "env": [{"name": "RAY_USE_TLS", "value": "1"}],
                            "volumeMounts": [
                                {"mountPath": "/etc/ca/tls", "name": "ca-tls", "readOnly": True},
                                {"mountPath": "/etc/ray/tls", "name": "ray-tls"},
                            ],
                        },
                        initContainers=[
                            {
                                "name": "ray-head-tls",
                                "image": "rayproject/ray:2.52.0",
                                "command": ["/bin/sh", "-c", "/etc/gen/tls/gencert_head.sh"],
                                "volumeMounts": [{"mountPath": "/etc/gen/tls", "name": "gen-tls-script"}],
                                "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                            }
                        ],
                        volumes=[
                            {"name": "ca-tls", "secret": {"secretName": "ca-tls"}},
                            {"name": "ray-tls", "emptyDir": {}},
                            {"name": "gen-tls-script", "configMap": {"name": "tls", "defaultMode": 0o777}},
                        ],
                    ),
                },
                {"template": pod("ray-worker", "2.52.0", ONE)},
            ),
        ),
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca-tls"}, "data": {"ca.crt": "LS0t\nLS1C\n"}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "tls"},
            "data": {"gencert_head.sh": "#!/bin/sh"},
        },
    ],
}


@pytest.mark.parametrize("manifests", SAMPLES.values(), ids=SAMPLES)
def test_no_false_alarm(manifests):
    text = yaml.safe_dump_all([_without_nothing(one) for one in manifests])
    assert findings_in(text) == []


def _without_nothing(value: Any) -> Any:
    """Return a manifest without keys that hold None."""
    if isinstance(value, dict):
        return {key: _without_nothing(inner) for key, inner in value.items() if inner is not None}
    return [_without_nothing(inner) for inner in value] if isinstance(value, list) else value
