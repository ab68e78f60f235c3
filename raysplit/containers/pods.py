"""The containers that KubeRay starts for a RayService: one for each pod, with its command, environment and limits."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from raysplit.errors import ConfigError
from raysplit.serving.check.finding import as_mapping, list_mappings
from raysplit.serving.check.pods import parse_quantity

HEAD = "head"
_AGENT_PORT, _METRICS_PORT = 52365, 8080
_RECONNECT_S = 600
"""How long KubeRay lets workers wait for a head that is restarted."""


@dataclass(frozen=True)
class SecretValue:
    """A value of an environment variable that is in a Secret."""

    secret: str
    key: str


@dataclass(frozen=True)
class PodContainer:
    """The one container of a pod."""

    name: str
    """Of the pod: its group and a number, `submodel-0-1`; `head` alone has none."""
    group: str
    image: str
    command: str
    """For a shell."""
    cpus: float
    memory_bytes: int
    environment: Mapping[str, str | SecretValue] = field(default_factory=dict)
    stop_command: str = ""
    """For a shell in it, before it is stopped."""

    def numbered(self, number: int) -> PodContainer:
        """Return another pod of the same group."""
        return replace(self, name=f"{self.group}-{number}")


def list_pods(rayservice: Mapping[str, object], head_address: str = HEAD) -> list[PodContainer]:
    """Return the containers of a RayService's cluster, the head first: as many of each group as `replicas` says.

    `head_address` is the name or address at which workers find the head. Raises ConfigError for a group without a
    container that has limits for CPU and memory.
    """
    spec = as_mapping(rayservice.get("spec"))
    cluster = as_mapping(spec.get("rayClusterConfig"))
    redis = as_mapping(cluster.get("gcsFaultToleranceOptions"))
    token = as_mapping(cluster.get("authOptions")).get("mode") == "token"
    shared: dict[str, str | SecretValue] = {"RAY_USAGE_STATS_KUBERAY_IN_USE": "1", "RAY_PORT": "6379"}
    if token:
        shared |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": SecretValue("auth", "auth_token")}
    head = as_mapping(cluster.get("headGroupSpec"))
    of_head = dict(shared)
    if redis:
        of_head |= {
            "RAY_REDIS_ADDRESS": str(redis.get("redisAddress")),
            "RAY_external_storage_namespace": str(redis.get("externalStorageNamespace", "raysplit")),
        }
        password = _read_value(as_mapping(redis.get("redisPassword")))
        if password is not None:
            of_head["REDIS_PASSWORD"] = password
    start = "--head --dashboard-host=0.0.0.0"
    if "REDIS_PASSWORD" in of_head:
        start += ' --redis-password="$REDIS_PASSWORD"'
    pods = [replace(_read_pod(head, HEAD, start, of_head), name=HEAD)]
    of_workers = dict(shared)
    if redis:
        of_workers["RAY_gcs_rpc_server_reconnect_timeout_s"] = str(_RECONNECT_S)
    for _, group in list_mappings(cluster.get("workerGroupSpecs")):
        name = str(group.get("groupName"))
        pod = _read_pod(group, name, f"--address={head_address}:6379", of_workers)
        count = group.get("replicas", group.get("minReplicas", 0))
        pods += [pod.numbered(number) for number in range(count if isinstance(count, int) else 0)]
    return pods


def _read_pod(
    group: Mapping[str, object], name: str, start: str, environment: Mapping[str, str | SecretValue]
) -> PodContainer:
    template = as_mapping(as_mapping(group.get("template")).get("spec"))
    container = next((one for _, one in list_mappings(template.get("containers"))), None)
    limits = as_mapping(as_mapping(as_mapping(container).get("resources")).get("limits"))
    cpus, memory = parse_quantity(limits.get("cpu")), parse_quantity(limits.get("memory"))
    if container is None or cpus is None or memory is None:
        raise ConfigError(f"group '{name}' has no container with limits for cpu and memory; set both")
    params = {"num-cpus": str(math.ceil(cpus)), "memory": str(int(memory))}
    params |= {str(key): str(value) for key, value in as_mapping(group.get("rayStartParams")).items()}
    amounts = {str(key): parse_quantity(value) for key, value in as_mapping(group.get("resources")).items()}
    if amounts:
        params["resources"] = f"'{json.dumps(amounts)}'"
    labels = ",".join(f"{key}={value}" for key, value in as_mapping(group.get("labels")).items())
    if labels:
        params["labels"] = f"'{labels}'"
    flags = " ".join(f"--{key}={value}" for key, value in params.items())
    ports = f"--dashboard-agent-listen-port={_AGENT_PORT} --metrics-export-port={_METRICS_PORT}"
    own = dict(_read_environment(container.get("env")))
    return PodContainer(
        name=name,
        group=name,
        image=str(container.get("image")),
        command=f"ray start {start} --block {ports} {flags}",
        cpus=cpus,
        memory_bytes=int(memory),
        environment={**environment, **own},
        stop_command=_read_stop_command(container),
    )


def _read_stop_command(container: Mapping[str, object]) -> str:
    hook = as_mapping(as_mapping(as_mapping(container.get("lifecycle")).get("preStop")).get("exec"))
    words = hook.get("command")
    return str(words[-1]) if isinstance(words, list) and words else ""


def _read_environment(entries: object) -> Iterator[tuple[str, str | SecretValue]]:
    for _, entry in list_mappings(entries):
        value = _read_value(entry)
        if value is not None:
            yield str(entry.get("name")), value


def _read_value(entry: Mapping[str, object]) -> str | SecretValue | None:
    reference = as_mapping(as_mapping(entry.get("valueFrom")).get("secretKeyRef"))
    if reference:
        return SecretValue(str(reference.get("name")), str(reference.get("key")))
    return str(entry["value"]) if "value" in entry else None


def list_secrets(pods: Sequence[PodContainer]) -> list[SecretValue]:
    """Return the values of Secrets that some pods need, each once."""
    values = [value for pod in pods for value in pod.environment.values() if isinstance(value, SecretValue)]
    return list(dict.fromkeys(values))
