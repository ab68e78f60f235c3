"""What the deployments of a Serve config take, and how much of it the pods of a RayCluster hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysplit.serving.check.finding import as_mapping, join_path, list_mappings
from raysplit.serving.check.pods import CPU, GPU, MEMORY, PodGroup

SLACK = 1e-6
"""Ray counts resources in steps of 0.0001."""
_MACHINE_RESOURCES = ("accelerator_type:", "node:")
"""Prefixes of resources that Ray itself adds by the machine."""


@dataclass(frozen=True)
class Demand:
    """What a deployment takes."""

    name: str
    path: str
    """Of the deployment."""
    replicas_key: str
    """Of the number of replicas, below `path`."""
    replicas: int
    """The most that are asked for."""
    least: int
    """How many run at any time."""
    surge: bool
    """Whether an update starts a new replica before it stops an old one."""
    per_pod: float
    """How many replicas one pod may have."""
    resources: Mapping[str, float]
    """What one replica takes."""
    selector: Mapping[str, str]
    """The labels of Ray that its node must have."""

    def fitting(self, group: PodGroup) -> float:
        """Return how many replicas one pod of a group holds."""
        if not self.selects(group):
            return 0
        counts = [(group.offer(name) + SLACK) / amount for name, amount in self.resources.items()]
        fits = min(counts, default=math.inf)
        return min(fits if math.isinf(fits) else math.floor(fits), self.per_pod)

    def selects(self, group: PodGroup) -> bool:
        """Return whether the pods of a group have its labels."""
        return all(matches(group.labels, key, text) for key, text in self.selector.items())

    def homes(self, groups: Sequence[PodGroup]) -> list[PodGroup]:
        """Return the groups whose pods hold a replica."""
        return [group for group in groups if self.fitting(group) >= 1]

    def room(self, groups: Sequence[PodGroup]) -> float:
        """Return how many replicas all pods hold if they hold nothing else."""
        return sum(_multiply(group.pods, self.fitting(group)) for group in groups)


@dataclass(frozen=True)
class Shortage:
    """A resource of which deployments together take more than the pods that can hold them have."""

    resource: str
    deployments: Sequence[str]
    groups: Sequence[PodGroup]
    taken: float
    offered: float

    @property
    def pods(self) -> str:
        """The names of the groups."""
        return ", ".join(f"'{group.name}'" for group in self.groups)


def list_demands(config: Mapping[Any, Any], path: str) -> Iterator[Demand]:
    """Return what the deployments of a Serve config, at `path`, take, as far as it is said there."""
    for index, app in list_mappings(config.get("applications")):
        for position, deployment in list_mappings(app.get("deployments")):
            where = join_path(path, "applications", index, "deployments", position)
            options = deployment.get("ray_actor_options")
            # Without options or with a group of bundles, what a replica takes is said in code or by the bundles.
            if not isinstance(options, Mapping) or deployment.get("placement_group_bundles"):
                continue
            wanted = {CPU: options.get(CPU, 1), GPU: options.get(GPU, 0), MEMORY: options.get(MEMORY, 0)}
            wanted |= as_mapping(options.get("resources"))
            counts = _count_replicas(deployment)
            key, replicas = max(counts.items(), key=lambda item: item[1], default=("num_replicas", 1))
            per_pod, surge = deployment.get("max_replicas_per_node"), deployment.get("max_surge_percent")
            resources = {
                str(name): amount
                for name, amount in wanted.items()
                if isinstance(amount, int | float) and amount > 0 and not str(name).startswith(_MACHINE_RESOURCES)
            }
            scaled = deployment.get("autoscaling_config") is not None
            yield Demand(
                name=str(deployment.get("name")),
                path=where,
                replicas_key=key,
                replicas=replicas,
                least=counts.get("autoscaling_config.min_replicas" if scaled else "num_replicas", 1),
                surge=isinstance(surge, int) and surge > 0,
                per_pod=per_pod if isinstance(per_pod, int) and per_pod > 0 else math.inf,
                resources=resources,
                selector={str(k): str(v) for k, v in as_mapping(options.get("label_selector")).items()},
            )


def matches(labels: Mapping[str, str], key: str, text: str) -> bool:
    """Return whether a node with these labels is what a selector of Ray asks for; of labels that Ray adds, always.

    >>> labels = {"zone": "a"}
    >>> [matches(labels, "zone", text) for text in ("a", "!a", "in(a, b)", "!in(b,c)", "b")]
    [True, False, True, True, False]
    """
    if key not in labels and key.startswith("ray.io/"):
        return True
    negated, wanted = text.startswith("!"), text.removeprefix("!").strip()
    values = wanted[3:-1].split(",") if wanted.startswith("in(") and wanted.endswith(")") else [wanted]
    return (labels.get(key) in {value.strip() for value in values}) is not negated


def find_shortage(demands: Sequence[Demand], groups: Sequence[PodGroup]) -> Shortage | None:
    """Return a resource of which two or more deployments that fit one by one have too little together, if any."""
    homes = {demand.path: frozenset(group.path for group in demand.homes(groups)) for demand in demands}
    everywhere = frozenset(group.path for group in groups)
    for home in sorted({*homes.values(), everywhere}, key=lambda paths: (len(paths), sorted(paths))):
        inside = [demand for demand in demands if homes[demand.path] <= home]
        own = [group for group in groups if group.path in home]
        for name in dict.fromkeys(key for demand in inside for key in demand.resources):
            taken = sum(demand.replicas * demand.resources.get(name, 0.0) for demand in inside)
            offered = sum(_multiply(group.pods, group.offer(name)) for group in own)
            if len(inside) > 1 and taken > offered + SLACK:
                return Shortage(name, [one.name for one in inside if name in one.resources], own, taken, offered)
    return None


def format_amount(name: str, amount: float) -> str:
    """Return an amount of a resource as people write it.

    >>> format_amount("memory", 3 * 2**30), format_amount("num_cpus", 0.5)
    ('3 GiB', '0.5')
    """
    return f"{amount / 2**30:.3g} GiB" if name == MEMORY else f"{amount:g}"


def _count_replicas(deployment: Mapping[Any, Any]) -> dict[str, int]:
    """Return the numbers of replicas that are asked for, by their keys."""
    scaling = as_mapping(deployment.get("autoscaling_config"))
    counts = {
        f"autoscaling_config.{key}": scaling.get(key) for key in ("min_replicas", "initial_replicas", "max_replicas")
    }
    counts["num_replicas"] = deployment.get("num_replicas")
    return {key: count for key, count in counts.items() if isinstance(count, int) and not isinstance(count, bool)}


def _multiply(count: float, amount: float) -> float:
    return count * amount if count and amount else 0.0
