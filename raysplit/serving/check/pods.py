"""What the pods of a RayCluster offer to Ray, as KubeRay tells `ray start` about it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from raysplit.serving.check.finding import Finding, as_mapping, join_path, list_mappings

CPU, GPU, MEMORY = "num_cpus", "num_gpus", "memory"
"""Resources by their names in `ray_actor_options`; `memory` is in bytes."""
_BUILT_IN = {"CPU": CPU, "GPU": GPU, "memory": MEMORY}
_START_PARAMS = {"num-cpus": CPU, "num-gpus": GPU, "memory": MEMORY}
_GPU_KEY = re.compile(r".*gpu|nvidia\.com/mig-\d+g\.\d+gb")
_LIMITS = {"cpu": CPU, "memory": MEMORY, "google.com/tpu": "TPU", "aws.amazon.com/neuroncore": "neuron_cores"}
_UNITS = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS |= {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


@dataclass(frozen=True)
class PodGroup:
    """The head pod or a group of equal worker pods."""

    name: str
    path: str
    spec: Mapping[Any, Any]
    pods: float
    """How many pods there can be; infinite if it is not said."""
    resources: Mapping[str, float]
    """What one pod offers, by the names of `ray_actor_options`; infinite if it depends on the machine."""
    labels: Mapping[str, str]
    """Of Ray, as far as they are written there."""

    def offer(self, resource: str) -> float:
        """Return how much of a resource one pod offers."""
        return self.resources.get(resource, 0.0)

    @property
    def count_key(self) -> str:
        """The path of the key with the number of pods."""
        return f"{'maxReplicas' if 'maxReplicas' in self.spec else 'replicas'} of {self.path}"

    def containers(self) -> list[tuple[str, Mapping[Any, Any]]]:
        """Return the containers of a pod, with their paths; the first one runs Ray."""
        spec = as_mapping(as_mapping(self.spec.get("template")).get("spec"))
        where = join_path(self.path, "template.spec.containers")
        return [(join_path(where, index), container) for index, container in list_mappings(spec.get("containers"))]


def list_groups(cluster: Mapping[Any, Any], path: str, findings: list[Finding]) -> list[PodGroup]:
    """Return the head and the worker groups of a RayCluster; resources that cannot be parsed go to `findings`.

    >>> worker = {"groupName": "w", "replicas": 2, "resources": {"CPU": "4", "camera": "1"}}
    >>> group = list_groups({"workerGroupSpecs": [worker]}, "", [])[1]
    >>> group.pods, group.offer("num_cpus"), group.offer("camera"), group.offer("num_gpus")
    (2, 4.0, 1.0, 0.0)
    """
    head = as_mapping(cluster.get("headGroupSpec"))
    groups = [_read_group("head", join_path(path, "headGroupSpec"), head, 1, findings)]
    scaled = cluster.get("enableInTreeAutoscaling") is True
    for index, spec in list_mappings(cluster.get("workerGroupSpecs")):
        where = join_path(path, "workerGroupSpecs", index)
        name = str(spec.get("groupName", f"workerGroupSpecs[{index}]"))
        groups.append(_read_group(name, where, spec, _count_pods(spec, scaled), findings))
    return groups


def parse_quantity(value: object) -> float | None:
    """Return a quantity of Kubernetes as a number, or None for anything else.

    >>> parse_quantity("1500m"), parse_quantity("2Gi"), parse_quantity(3), parse_quantity("much")
    (1.5, 2147483648.0, 3.0, None)
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?(?:[eE]\d+)?|\.\d+)([A-Za-z]*)", str(value).strip())
    return float(match[1]) * _UNITS[match[2]] if match and match[2] in _UNITS else None


def _count_pods(spec: Mapping[Any, Any], scaled: bool) -> float:
    counts = [
        spec.get("maxReplicas") if scaled else spec.get("replicas", spec.get("minReplicas", 0)),
        spec.get("numOfHosts", 1),
    ]
    known = [count if isinstance(count, int) else math.inf for count in counts]
    return 0 if 0 in known else math.prod(known)


def _read_group(name: str, path: str, spec: Mapping[Any, Any], pods: float, findings: list[Finding]) -> PodGroup:
    template = as_mapping(as_mapping(spec.get("template")).get("spec"))
    ray = next((container for _, container in list_mappings(template.get("containers"))), {})
    limits = as_mapping(as_mapping(as_mapping(ray).get("resources")).get("limits"))
    resources = {CPU: math.inf, MEMORY: math.inf}
    for key, value in _quantities(limits):
        known = _LIMITS.get(key) or (GPU if _GPU_KEY.fullmatch(key) else None)
        if known:
            resources[known] = math.ceil(value) if known == CPU else value
    params = as_mapping(spec.get("rayStartParams"))
    resources |= {_START_PARAMS[key]: value for key, value in _quantities(params) if key in _START_PARAMS}
    resources |= _parse_custom(params.get("resources"), join_path(path, "rayStartParams.resources"), findings)
    # A quantity that cannot be parsed is reported by Kubernetes.
    custom = {str(key): parse_quantity(value) for key, value in as_mapping(spec.get("resources")).items()}
    resources |= {_BUILT_IN.get(key, key): math.inf if value is None else value for key, value in custom.items()}
    return PodGroup(name, path, spec, pods, resources, _read_labels(name, spec, params))


def _read_labels(name: str, spec: Mapping[Any, Any], params: Mapping[Any, Any]) -> dict[str, str]:
    """Return the labels of Ray that a group has: its own, those of `ray start`, and the one that KubeRay adds."""
    started = [pair.partition("=") for pair in str(params.get("labels", "")).strip("'\"").split(",")]
    own = {str(key): str(value) for key, value in as_mapping(spec.get("labels")).items()}
    return {"ray.io/node-group": name} | {key.strip(): value.strip() for key, _, value in started if key.strip()} | own


def _quantities(values: Mapping[Any, Any]) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        quantity = parse_quantity(value)
        if quantity is not None:
            yield str(key), quantity


def _parse_custom(text: object, path: str, findings: list[Finding]) -> dict[str, float]:
    if text is None:
        return {}
    try:  # the shell that runs `ray start` removes quotes and backslashes
        parsed = json.loads(str(text).strip("'\"").replace('\\"', '"'))
        return {str(name): float(amount) for name, amount in parsed.items()}
    except (AttributeError, TypeError, ValueError):
        remedy = """write '"{\\"NAME\\": 1}"', or `resources: {NAME: "1"}` beside rayStartParams"""
        findings.append(Finding(path, f"is not valid JSON with resources; {remedy}"))
        return {}
