"""Whether the pods of a RayCluster have room for the replicas that an update starts before it stops old ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from raysplit.serving.check.demand import Demand, find_shortage, format_amount
from raysplit.serving.check.finding import Finding, join_path
from raysplit.serving.check.pods import PodGroup


def check_surge(demands: Sequence[Demand], groups: Sequence[PodGroup]) -> Iterator[Finding]:
    """Find deployments with `max_surge_percent` above 0 of which one more replica never fits beside the others.

    Such a deployment cannot be updated: Serve keeps the old replicas and waits. Demands that do not fit as they are
    must be left out. Where Serve scales a deployment, the smallest number of its replicas counts.
    """
    running = [replace(demand, replicas=demand.least) for demand in demands]
    for index, demand in enumerate(running):
        if not (demand.surge and demand.least):
            continue
        more = replace(demand, replicas=demand.least + 1)
        problem = _find_full_pods(more, groups) or _find_full_cluster(
            more, [*running[:index], more, *running[index + 1 :]], groups
        )
        if problem:
            yield Finding(
                join_path(demand.path, "max_surge_percent"),
                f"an update starts a new replica of '{demand.name}' before it stops an old one, but {problem}",
            )


def _find_full_pods(demand: Demand, groups: Sequence[PodGroup]) -> str | None:
    room, homes = demand.room(groups), demand.homes(groups)
    if room >= demand.replicas:
        return None
    fullest = max(homes, key=lambda group: group.pods)
    limits = {name: fullest.offer(name) / amount for name, amount in demand.resources.items()}
    limits["max_replicas_per_node"] = demand.per_pod
    resource = min(limits, key=lambda name: limits[name])
    pods = ", ".join(f"'{group.name}'" for group in homes)
    more = f"{resource} there" if fullest is groups[0] else fullest.count_key  # there is one head
    return (
        f"{resource} limits the pods that can hold it, of {pods}, to {room:g}: the new one would wait forever. Set 0, "
        f"or raise {more}"
    )


def _find_full_cluster(demand: Demand, demands: Sequence[Demand], groups: Sequence[PodGroup]) -> str | None:
    shortage = find_shortage(demands, groups)
    if shortage is None:
        return None
    name = shortage.resource
    return (
        f"with one more, {', '.join(shortage.deployments)} take {name} {format_amount(name, shortage.taken)}, and the "
        f"pods that can hold them, of {shortage.pods}, have {format_amount(name, shortage.offered)}: the new one would "
        "wait forever. Set 0, or raise replicas of the groups"
    )
