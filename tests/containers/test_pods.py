"""What KubeRay would start for a RayService, as containers, a compose file and Podman commands."""

from __future__ import annotations

import copy
import shlex
import subprocess

import pytest
import yaml

from raysplit.cli.main import main
from raysplit.containers.compose import render_commands, render_compose, write_compose
from raysplit.containers.parts import NODE_MIB, REPLICA_MIB, Part
from raysplit.containers.pods import SecretValue, list_pods, list_secrets
from raysplit.containers.policies import render_redis_patch
from raysplit.containers.rayservice import render_rayservice
from raysplit.containers.serve_config import Replicas, ServingOptions
from raysplit.errors import ConfigError
from tests.containers.apps import application, on_devices

MANIFEST = yaml.safe_load(render_rayservice(application(2), ServingOptions({"submodel-1": Replicas(2)})))


def test_a_container_for_each_pod():
    pods = {pod.name: pod for pod in list_pods(MANIFEST)}
    assert list(pods) == ["head", "ingress-0", "submodel-0-0", "submodel-1-0", "submodel-1-1"]
    head, worker = pods["head"], pods["submodel-1-1"]
    assert head.command.startswith("ray start --head --dashboard-host=0.0.0.0 --block ")
    assert "--num-cpus=0" in head.command and "--resources" not in head.command
    words = shlex.split(worker.command)
    assert words[:3] == ["ray", "start", "--address=head:6379"] and '--resources={"submodel-1": 1.0}' in words
    assert "--num-cpus=2" in words and f"--memory={worker.memory_bytes}" in words
    assert worker.memory_bytes == application(2).submodels[1].memory_mib * 2**20 and worker.cpus == 2
    assert worker.image == application(2).submodels[1].image
    assert worker.environment["RAYSPLIT_API_KEY"] == SecretValue("raysplit", "api-key")
    assert worker.environment["RAY_AUTH_MODE"] == "token"
    assert list_secrets(list(pods.values())) == [SecretValue("auth", "auth_token"), SecretValue("raysplit", "api-key")]


def test_the_state_of_the_head_is_kept_in_redis():
    manifest = copy.deepcopy(MANIFEST)
    [patch] = yaml.safe_load(render_redis_patch(application(2)))
    manifest["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"] = patch["value"]
    head, worker, *_ = list_pods(manifest)
    assert head.environment["RAY_REDIS_ADDRESS"] == "ensemble-redis:6379"
    assert head.environment["REDIS_PASSWORD"] == SecretValue("raysplit-redis", "password")
    assert '--redis-password="$REDIS_PASSWORD"' in head.command and "redis" not in worker.command
    assert worker.environment["RAY_gcs_rpc_server_reconnect_timeout_s"] == "600"


def test_a_group_without_limits():
    manifest = copy.deepcopy(MANIFEST)
    container = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"][1]["template"]["spec"]["containers"][0]
    del container["resources"]["limits"]["memory"]
    with pytest.raises(ConfigError, match="group 'submodel-0' has no container with limits for cpu and memory; set "):
        list_pods(manifest)


@pytest.mark.parametrize(("mib", "steps"), [(0.1, 6), (30, 6), (70, 7), (1000, 21)])
def test_memory_grows_with_the_weights(mib, steps):
    part = Part("submodel-0", "submodel-0", "image", (0,), mib)
    assert part.memory_mib == 256 * steps and part.memory_mib >= NODE_MIB + REPLICA_MIB + mib


@pytest.mark.parametrize("app", [application(2), on_devices()], ids=["sub-models", "devices"])
def test_the_compose_file_starts_the_same_containers(app):
    pods = list_pods(yaml.safe_load(render_rayservice(app, ServingOptions({}))))
    project = yaml.safe_load(render_compose(app, pods, 8001))
    services = project["services"]
    assert list(services) == [*(pod.name for pod in pods), "deploy"]
    for pod in pods:
        service = services[pod.name]
        assert service["image"] == pod.image and service["command"][-1] == pod.command.replace("$", "$$")
        assert service["mem_limit"] == f"{pod.memory_bytes // 2**20}m" and service["read_only"] is True
        assert service["environment"]["RAYSPLIT_API_KEY"] == "${RAYSPLIT_API_KEY:?}"
        assert service.get("ports") == (["127.0.0.1:8001:8000"] if pod.name == "ingress-0" else None)
    assert "serve deploy /serve.yaml --address http://head:8265" in services["deploy"]["command"][-1]


def test_the_script_runs_podman(tmp_path):
    """With a Podman that writes down how it was called."""
    app = application(1)
    pods = list_pods(yaml.safe_load(render_rayservice(app, ServingOptions({}))))
    (tmp_path / "podman").write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {tmp_path}/calls\n')
    (tmp_path / "podman").chmod(0o755)
    (tmp_path / "podman.sh").write_text(render_commands(app, pods, 8000))
    (tmp_path / ".env").write_text("RAYSPLIT_API_KEY=abc\nAUTH_AUTH_TOKEN=def\n")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["sh", str(tmp_path / "podman.sh")], env=environment, check=True, capture_output=True)
    network, *runs, deploy = (tmp_path / "calls").read_text().splitlines()
    assert network == "network create ensemble" and len(runs) == len(pods)
    for pod, line in zip(pods, runs, strict=True):
        assert f"--name ensemble-{pod.name} " in line and line.endswith(f"{pod.image} /bin/bash -c {pod.command}")
        assert "--env RAYSPLIT_API_KEY=abc" in line and "--env RAY_AUTH_TOKEN=def" in line and "--read-only" in line
    assert "serve deploy /serve.yaml" in deploy
    subprocess.run(["sh", str(tmp_path / "podman.sh"), "stop"], env=environment, check=True)
    assert (tmp_path / "calls").read_text().splitlines()[-1] == "network rm ensemble"


def test_every_folder_has_keys_of_its_own(tmp_path):
    keys = set()
    for name in ("a", "b"):
        assert write_compose(application(1), str(tmp_path / name)) == [
            ".env",
            "compose.yaml",
            "podman.sh",
            "serve.yaml",
        ]
        keys |= set((tmp_path / name / ".env").read_text().splitlines())
    assert len(keys) == 4


def test_the_command(bundle, tmp_path, capsys):
    assert main(["compose", bundle, "-o", str(tmp_path / "here"), "--name", "digits"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == f"{tmp_path}/here/compose.yaml"
    assert yaml.safe_load((tmp_path / "here/compose.yaml").read_text())["name"] == "digits"
