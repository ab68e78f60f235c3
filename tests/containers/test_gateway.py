"""The gateway and its devices as manifests."""

from __future__ import annotations

import pytest
import yaml

from raysplit.cli.main import main
from raysplit.containers.device_pods import render_devices
from raysplit.containers.gateway import render_gateway
from raysplit.errors import ConfigError
from raysplit.hardware.machine import Machine
from raysplit.serving.check import check_file

IMAGE, HOST = "registry.example.com/raysplit:2.60.0-py311", "gateway.example.com"
DEVICES = [
    Machine(name="camera", memory_mib=512, gflops_per_s=4),
    Machine(name="phone", memory_mib=2048, gflops_per_s=20),
]


def check(text: str, tmp_path) -> list[str]:
    (tmp_path / "gateway.yaml").write_text(text)
    return [str(finding) for finding in check_file(str(tmp_path / "gateway.yaml"))]


def test_devices_reach_the_gateway_alone_and_by_tls(tmp_path):
    text = render_gateway("fleet", IMAGE, HOST)
    assert check(text, tmp_path) == []
    service, ingress, _, clients = yaml.safe_load_all(text)
    spec = service["spec"]["rayClusterConfig"]
    assert spec["rayVersion"] == "2.60.0" and spec["authOptions"] == {"mode": "token"}
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    [app] = config["applications"]
    [deployment] = app["deployments"]
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    pod = groups["gateway"]["template"]["spec"]
    [mount] = pod["containers"][0]["volumeMounts"]
    assert app["args"]["keys"] == f"{mount['mountPath']}/keys.txt" and mount["readOnly"]
    assert pod["volumes"] == [{"name": "keys", "secret": {"secretName": "fleet-keys"}}]
    assert "volumes" not in groups["server"]["template"]["spec"]
    assert deployment["ray_actor_options"]["resources"] == {"gateway": 1} and deployment["num_replicas"] == 1
    [tls], [rule] = ingress["spec"]["tls"], ingress["spec"]["rules"]
    assert tls == {"hosts": [HOST], "secretName": "fleet-tls"} and rule["host"] == HOST
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "fleet-serve-svc", "port": {"number": config["http_options"]["port"]}}
    labels = clients["spec"]["podSelector"]["matchLabels"]
    assert labels.items() <= groups["gateway"]["template"]["metadata"]["labels"].items()
    assert clients["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8000}]}]


def test_a_device_is_a_pod_on_its_own_node_outside_the_cluster(tmp_path):
    text = render_devices("fleet", DEVICES, "registry.example.com/raysplit-device:2.60.0-0123456789ab", HOST)
    assert check(text, tmp_path) == []
    assert check(f"{render_gateway('fleet', IMAGE, HOST)}---\n{text}", tmp_path) == []
    for device, deployment in zip(DEVICES, yaml.safe_load_all(text), strict=True):
        spec = deployment["spec"]["template"]["spec"]
        [container] = spec["containers"]
        words = container["command"]
        assert words[:3] == ["raysplit", "join", f"https://{HOST}"] and words[words.index("--name") + 1] == device.name
        [variable] = container["env"]
        assert variable["name"] == words[words.index("--key-env") + 1]
        assert variable["valueFrom"]["secretKeyRef"] == {"name": f"fleet-{device.name}", "key": "key"}
        assert spec["nodeSelector"] == {"raysplit.io/device": device.name}
        assert container["resources"]["limits"]["memory"] == f"{512 + round(device.memory_mib)}Mi"
        assert deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/part-of"] != "fleet"


@pytest.mark.parametrize(
    ("name", "image", "host", "text"),
    [
        ("Fleet", IMAGE, HOST, "'Fleet' is no name for Kubernetes"),
        ("fleet", "raysplit:latest", HOST, "the tag of image 'raysplit:latest' does not begin with its Ray version"),
        ("fleet", IMAGE, f"https://{HOST}", f"--gateway 'https://{HOST}' is no DNS name; write it like"),
        ("fleet", IMAGE, "localhost", "--gateway 'localhost' is no DNS name"),
        ("fleet", IMAGE, f"{HOST}:8000", f"--gateway '{HOST}:8000' is no DNS name"),
    ],
)
def test_errors(name, image, host, text):
    with pytest.raises(ConfigError) as err:
        render_gateway(name, image, host)
    assert str(err.value).startswith(text)


def test_a_device_without_a_name_for_kubernetes():
    with pytest.raises(ConfigError, match="'Camera 1' is no name for Kubernetes"):
        render_devices("fleet", [Machine(name="Camera 1", memory_mib=512, gflops_per_s=4)], "device:1", HOST)


def test_the_command(capsys, tmp_path):
    assert main(["kuberay", "--gateway", HOST, "--job-image", IMAGE, "--name", "fleet"]) == 0
    assert capsys.readouterr().out == render_gateway("fleet", IMAGE, HOST)
    (tmp_path / "devices.yaml").write_text("- {name: camera, memory_mib: 512, gflops_per_s: 4}")
    words = ["kuberay", "--gateway", HOST, "--devices", str(tmp_path / "devices.yaml"), "--name", "fleet"]
    assert main([*words, "--device-image", "device:1"]) == 0
    assert capsys.readouterr().out == render_devices("fleet", DEVICES[:1], "device:1", HOST)
    assert main(words) == 1
    assert "--devices needs --gateway and --device-image" in capsys.readouterr().err
    assert main(["kuberay", "--gateway", HOST]) == 1
    assert "one of --job and --gateway needs --job-image" in capsys.readouterr().err
