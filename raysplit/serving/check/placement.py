"""Whether the pods of a RayCluster can hold the replicas of a Serve config."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysplit.errors import nearest
from raysplit.serving.check.finding import Finding, as_mapping, join_path, list_mappings
from raysplit.serving.check.pods import CPU, GPU, MEMORY, PodGroup

_MACHINE_RESOURCES = ("accelerator_type:", "node:")
"""Prefixes of resources that Ray itself adds by the machine."""
_SLACK = 1e-6
"""Ray counts resources in steps of 0.0001."""
_KEYS = {CPU: "limits.cpu", GPU: 'limits."nvidia.com/gpu"', MEMORY: "limits.memory"}


@dataclass(frozen=True)
class _Demand:
    """What a deployment takes."""

    name: str
    path: str
    """Of the deployment."""
    replicas_key: str
    """Of the number of replicas, below `path`."""
    replicas: int
    per_pod: float
    """How many replicas one pod may have."""
    resources: Mapping[str, float]
    """What one replica takes."""

    def fitting(self, group: PodGroup) -> float:
        """Return how many replicas one pod of a group holds."""
        counts = [(group.offer(name) + _SLACK) / amount for name, amount in self.resources.items()]
        fits = min(counts, default=math.inf)
        return min(fits if math.isinf(fits) else math.floor(fits), self.per_pod)


def check_placement(config: Mapping[Any, Any], path: str, groups: Sequence[PodGroup]) -> Iterator[Finding]:
    """Find replicas of a Serve config, at `path`, for which the pods have no room.

    Only what must fail is found: a replica that no pod holds, or more replicas than all pods together hold.

    >>> from raysplit.serving.check.pods import list_groups
    >>> groups = list_groups({"headGroupSpec": {"rayStartParams": {"num-cpus": "2"}}}, "", [])
    >>> deployment = {"name": "D", "ray_actor_options": {"num_cpus": 4}}
    >>> for finding in check_placement({"applications": [{"deployments": [deployment]}]}, "", groups):
    ...     print(finding)
    applications[0].deployments[0].ray_actor_options.num_cpus: no pod can hold a replica, which takes num_cpus 4: \
the nearest, of group 'head', has num_cpus 2. Lower it, or raise limits.cpu in headGroupSpec
    """
    placed: list[_Demand] = []
    for demand in _list_demands(config, path):
        problem = next(_find_misfit(demand, groups), None)
        if problem is None:
            placed.append(demand)
        else:
            yield problem
    yield from _check_together(placed, join_path(path, "applications"), groups)


def _list_demands(config: Mapping[Any, Any], path: str) -> Iterator[_Demand]:
    for index, app in list_mappings(config.get("applications")):
        for position, deployment in list_mappings(app.get("deployments")):
            where = join_path(path, "applications", index, "deployments", position)
            options = deployment.get("ray_actor_options")
            # Without options or with a group of bundles, what a replica takes is said in code or by the bundles.
            if not isinstance(options, Mapping) or deployment.get("placement_group_bundles"):
                continue
            wanted = {CPU: options.get(CPU, 1), GPU: options.get(GPU, 0), MEMORY: options.get(MEMORY, 0)}
            wanted |= as_mapping(options.get("resources"))
            key, replicas = _count_replicas(deployment)
            per_pod = deployment.get("max_replicas_per_node")
            resources = {
                str(name): amount
                for name, amount in wanted.items()
                if isinstance(amount, int | float) and amount > 0 and not str(name).startswith(_MACHINE_RESOURCES)
            }
            limit = per_pod if isinstance(per_pod, int) and per_pod > 0 else math.inf
            yield _Demand(str(deployment.get("name")), where, key, replicas, limit, resources)


def _count_replicas(deployment: Mapping[Any, Any]) -> tuple[str, int]:
    """Return the key with the largest number of replicas that is asked for, and that number."""
    scaling = as_mapping(deployment.get("autoscaling_config"))
    counts = {
        f"autoscaling_config.{key}": scaling.get(key) for key in ("min_replicas", "initial_replicas", "max_replicas")
    }
    counts["num_replicas"] = deployment.get("num_replicas")
    numbers = {key: count for key, count in counts.items() if isinstance(count, int) and not isinstance(count, bool)}
    return max(numbers.items(), key=lambda item: item[1], default=("num_replicas", 1))


def _find_misfit(demand: _Demand, groups: Sequence[PodGroup]) -> Iterator[Finding]:
    options = join_path(demand.path, "ray_actor_options")
    for name, amount in demand.resources.items():
        if name in (CPU, MEMORY) or any(group.offer(name) for group in groups):
            continue
        if name == GPU:
            remedy = f"set {_KEYS[GPU]} of a container in {groups[-1].path}, or remove num_gpus"
            yield Finding(join_path(options, GPU), f"a replica takes {amount:g}, but no pod has a GPU; {remedy}")
        else:
            known = sorted({key for group in groups for key in group.resources} - {CPU, GPU, MEMORY})
            remedy = nearest(name, known) or f'Set `resources: {{{name}: "{amount:g}"}}` in {groups[-1].path}'
            yield Finding(join_path(options, f"resources.{name}"), f"no group of pods offers '{name}'. {remedy}")
    if any(demand.fitting(group) >= 1 for group in groups):
        hold = sum(_multiply(group.pods, demand.fitting(group)) for group in groups)
        if hold < demand.replicas:
            yield Finding(join_path(demand.path, demand.replicas_key), _describe_too_many(demand, hold, groups))
        return
    closest = min(groups, key=lambda group: len(_lacking(demand, group)))
    lacking = _lacking(demand, closest)
    where = join_path(options, lacking[0] if lacking[0] in _KEYS else f"resources.{lacking[0]}")
    taken = _list_amounts(demand.resources)
    offered = _list_amounts({name: closest.offer(name) for name in lacking})
    keys = " and ".join(_KEYS.get(name, f"resources.{name}") for name in lacking)
    yield Finding(
        where,
        f"no pod can hold a replica, which takes {taken}: the nearest, of group '{closest.name}', has {offered}. Lower "
        f"it, or raise {keys} in {closest.path}",
    )


def _lacking(demand: _Demand, group: PodGroup) -> list[str]:
    return [name for name, amount in demand.resources.items() if group.offer(name) + _SLACK < amount]


def _describe_too_many(demand: _Demand, hold: float, groups: Sequence[PodGroup]) -> str:
    fitting = [group for group in groups if demand.fitting(group) >= 1]
    pods = ", ".join(f"{group.pods:g} of group '{group.name}' with {demand.fitting(group):g} each" for group in fitting)
    largest = max(fitting, key=lambda group: group.pods)
    key = "maxReplicas" if "maxReplicas" in largest.spec else "replicas"
    return (
        f"{demand.replicas} replicas do not fit: the pods that can hold them are {pods}. Set at most {hold:g}, or "
        f"raise {key} of {largest.path}"
    )


def _check_together(demands: Sequence[_Demand], path: str, groups: Sequence[PodGroup]) -> Iterator[Finding]:
    """Find deployments that fit one by one, but not together into the pods that can hold them."""
    homes = {demand.path: frozenset(group.path for group in groups if demand.fitting(group) >= 1) for demand in demands}
    everywhere = frozenset(group.path for group in groups)
    for home in sorted({*homes.values(), everywhere}, key=lambda paths: (len(paths), sorted(paths))):
        inside = [demand for demand in demands if homes[demand.path] <= home]
        for name in dict.fromkeys(key for demand in inside for key in demand.resources):
            taken = sum(demand.replicas * demand.resources.get(name, 0.0) for demand in inside)
            offered = sum(_multiply(group.pods, group.offer(name)) for group in groups if group.path in home)
            if len(inside) > 1 and taken > offered + _SLACK:
                names = ", ".join(demand.name for demand in inside if name in demand.resources)
                pods = ", ".join(f"'{group.name}'" for group in groups if group.path in home)
                yield Finding(
                    path,
                    f"all replicas of {names} take {name} {_amount(name, taken)}, but the pods that can hold them, of "
                    f"{pods}, have {_amount(name, offered)}. Lower num_replicas, or raise replicas of the groups",
                )
                return


def _multiply(count: float, amount: float) -> float:
    return count * amount if count and amount else 0.0


def _list_amounts(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {_amount(name, amount)}" for name, amount in resources.items())


def _amount(name: str, amount: float) -> str:
    return f"{amount / 2**30:.3g} GiB" if name == MEMORY else f"{amount:g}"
