"""Whether the pods of a RayCluster can hold the replicas of a Serve config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raysplit.errors import nearest
from raysplit.serving.check.demand import SLACK, Demand, find_shortage, format_amount, list_demands, matches
from raysplit.serving.check.finding import Finding, join_path
from raysplit.serving.check.pods import CPU, GPU, MEMORY, PodGroup
from raysplit.serving.check.surge import check_surge

_KEYS = {CPU: "limits.cpu", GPU: 'limits."nvidia.com/gpu"', MEMORY: "limits.memory"}


def check_placement(config: Mapping[Any, Any], path: str, groups: Sequence[PodGroup]) -> Iterator[Finding]:
    """Find replicas of a Serve config, at `path`, for which the pods have no room, now or when it is updated.

    Only what must fail is found: a replica that no pod holds, or more replicas than all pods together hold.

    >>> from raysplit.serving.check.pods import list_groups
    >>> groups = list_groups({"headGroupSpec": {"rayStartParams": {"num-cpus": "2"}}}, "", [])
    >>> deployment = {"name": "D", "ray_actor_options": {"num_cpus": 4}}
    >>> for finding in check_placement({"applications": [{"deployments": [deployment]}]}, "", groups):
    ...     print(finding)
    applications[0].deployments[0].ray_actor_options.num_cpus: no pod can hold a replica, which takes num_cpus 4: \
the nearest, of group 'head', has num_cpus 2. Lower it, or raise limits.cpu in headGroupSpec
    """
    placed: list[Demand] = []
    for demand in list_demands(config, path):
        problem = next(_find_misfit(demand, groups), None)
        if problem is None:
            placed.append(demand)
        else:
            yield problem
    if shortage := find_shortage(placed, groups):
        name = shortage.resource
        yield Finding(
            join_path(path, "applications"),
            f"all replicas of {', '.join(shortage.deployments)} take {name} {format_amount(name, shortage.taken)}, but "
            f"the pods that can hold them, of {shortage.pods}, have {format_amount(name, shortage.offered)}. Lower "
            "num_replicas, or raise replicas of the groups",
        )
    else:
        yield from check_surge(placed, groups)


def _find_misfit(demand: Demand, groups: Sequence[PodGroup]) -> Iterator[Finding]:
    options = join_path(demand.path, "ray_actor_options")
    for key, text in demand.selector.items():
        if not any(matches(group.labels, key, text) for group in groups):
            known = sorted({f"{name}: {value}" for group in groups for name, value in group.labels.items()})
            remedy = nearest(f"{key}: {text}", known)
            where = join_path(options, f"label_selector.{key}")
            yield Finding(where, f"no group of pods has the label {key}: {text}. Add it to `labels` of one. {remedy}")
            return
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
    if demand.homes(groups):
        hold = demand.room(groups)
        if hold < demand.replicas:
            yield Finding(join_path(demand.path, demand.replicas_key), _describe_too_many(demand, hold, groups))
        return
    selected = [group for group in groups if demand.selects(group)]
    if not selected:
        wanted = ", ".join(f"{key}: {text}" for key, text in demand.selector.items())
        where = join_path(options, "label_selector")
        yield Finding(where, f"no group of pods has all of the labels {wanted}. Add them to `labels` of one")
        return
    closest = min(selected, key=lambda group: len(_lacking(demand, group)))
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


def _lacking(demand: Demand, group: PodGroup) -> list[str]:
    return [name for name, amount in demand.resources.items() if group.offer(name) + SLACK < amount]


def _describe_too_many(demand: Demand, hold: float, groups: Sequence[PodGroup]) -> str:
    homes = demand.homes(groups)
    pods = ", ".join(f"{group.pods:g} of group '{group.name}' with {demand.fitting(group):g} each" for group in homes)
    return (
        f"{demand.replicas} replicas do not fit: the pods that can hold them are {pods}. Set at most {hold:g}, or "
        f"raise {max(homes, key=lambda group: group.pods).count_key}"
    )


def _list_amounts(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {format_amount(name, amount)}" for name, amount in resources.items())
