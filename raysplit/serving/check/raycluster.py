"""What KubeRay's operator refuses or ignores in a cluster, a service or a job, although their CRDs allow it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from raysplit.errors import nearest
from raysplit.serving.check.finding import Finding, as_mapping, join_path, list_mappings
from raysplit.serving.check.pods import parse_quantity

_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_LONGEST = {"RayService": 41, "RayJob": 47, "RayCluster": 63}
"""Of a name: KubeRay appends to it."""
_UPGRADES = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")
_TOKENS_SINCE = (2, 52)


def check_raycluster(manifest: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    """Find problems of a RayService, RayJob or RayCluster as a whole and of the cluster in it."""
    kind, spec = str(manifest.get("kind")), as_mapping(manifest.get("spec"))
    where = join_path(path, "spec")
    yield from _check_name(manifest, path, kind)
    key = {"RayService": "rayClusterConfig", "RayJob": "rayClusterSpec"}.get(kind)
    if kind == "RayService":
        yield from _check_upgrade(spec, where)
    if kind == "RayJob":
        yield from _check_job(spec, where)
    if key is None:
        yield from _check_cluster(spec, where)
    elif isinstance(spec.get(key), Mapping):
        yield from _check_cluster(spec[key], join_path(where, key))
        if as_mapping(spec[key].get("authOptions")).get("enableK8sTokenAuth") is True:
            at = join_path(where, key, "authOptions.enableK8sTokenAuth")
            yield Finding(at, f"KubeRay supports it in a RayCluster alone, not in a {kind}; remove it")


def _check_name(manifest: Mapping[Any, Any], path: str, kind: str) -> Iterator[Finding]:
    name = as_mapping(manifest.get("metadata")).get("name")
    where = join_path(path, "metadata.name")
    if not isinstance(name, str):
        if not as_mapping(manifest.get("metadata")).get("generateName"):
            yield Finding(where, "is required; add it")
    elif not _NAME.fullmatch(name):
        yield Finding(
            where, f"'{name}' is no name; begin with a letter, and use lower-case letters, digits and hyphens"
        )
    elif len(name) > _LONGEST[kind]:
        yield Finding(where, f"has {len(name)} characters, and a {kind} at most {_LONGEST[kind]}; shorten it")


def _check_upgrade(spec: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    upgrade = as_mapping(spec.get("upgradeStrategy"))
    kind, where = upgrade.get("type"), join_path(path, "upgradeStrategy")
    if isinstance(kind, str) and kind not in _UPGRADES:
        yield Finding(join_path(where, "type"), f"'{kind}' is none of its values. {nearest(kind, _UPGRADES)}")
    incremental = kind == _UPGRADES[1]
    if incremental and not upgrade.get("clusterUpgradeOptions"):
        yield Finding(join_path(where, "clusterUpgradeOptions"), f"is required by {kind}; add it, or use NewCluster")
    if incremental and as_mapping(spec.get("rayClusterConfig")).get("enableInTreeAutoscaling") is not True:
        at = join_path(path, "rayClusterConfig.enableInTreeAutoscaling")
        yield Finding(at, f"must be true for {kind}, which moves replicas step by step; set it, or use NewCluster")


def _check_job(spec: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    selector, cluster = spec.get("clusterSelector"), spec.get("rayClusterSpec")
    if not selector and not cluster:
        yield Finding(join_path(path, "rayClusterSpec"), "is required unless clusterSelector names a cluster; add one")
    if selector and cluster:
        yield Finding(
            join_path(path, "clusterSelector"), "is of a cluster that runs, and rayClusterSpec of a new one; remove one"
        )
    interactive = spec.get("submissionMode") == "InteractiveMode"
    if not interactive and not str(spec.get("entrypoint") or "").strip():
        yield Finding(
            join_path(path, "entrypoint"), "is required; write the command that runs, like python jobs/demo.py"
        )
    if spec.get("ttlSecondsAfterFinished") and spec.get("shutdownAfterJobFinishes") is not True:
        where = join_path(path, "ttlSecondsAfterFinished")
        yield Finding(where, "has no effect without shutdownAfterJobFinishes: true; set that, or leave it out")
    text = spec.get("runtimeEnvYAML")
    if isinstance(text, str):
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = None
        if not isinstance(value, Mapping):
            yield Finding(join_path(path, "runtimeEnvYAML"), "is no YAML mapping; write it like 'env_vars: {A: \"1\"}'")
        else:
            yield from _check_runtime_env(value, join_path(path, "runtimeEnvYAML"))


def _check_runtime_env(value: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    from ray.runtime_env import RuntimeEnv

    known = sorted(name.removeprefix("_") for name in RuntimeEnv.known_fields)
    for key in value:
        if str(key) not in known:
            yield Finding(join_path(path, key), f"unknown key. {nearest(str(key), known)}")


def _check_cluster(cluster: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    names: set[str] = set()
    for index, group in list_mappings(cluster.get("workerGroupSpecs")):
        where, name = join_path(path, "workerGroupSpecs", index), str(group.get("groupName"))
        if name in names:
            yield Finding(join_path(where, "groupName"), f"is '{name}', as another group's is; rename one")
        names.add(name)
        yield from _check_counts(group, where)
        yield from _check_limits(group, where)
    yield from _check_limits(as_mapping(cluster.get("headGroupSpec")), join_path(path, "headGroupSpec"))
    if cluster.get("autoscalerOptions") and cluster.get("enableInTreeAutoscaling") is not True:
        where = join_path(path, "autoscalerOptions")
        yield Finding(where, "has no effect without enableInTreeAutoscaling: true; set that, or leave it out")
    yield from _check_fault_tolerance(cluster, path)
    yield from _check_tokens(cluster, path)


def _check_counts(group: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    least, most, now = (group.get(key) for key in ("minReplicas", "maxReplicas", "replicas"))
    if isinstance(least, int) and isinstance(most, int) and least > most:
        yield Finding(join_path(path, "minReplicas"), f"is {least}, more than maxReplicas {most}; lower it")
        return
    if isinstance(now, int) and isinstance(most, int) and now > most:
        yield Finding(join_path(path, "replicas"), f"is {now}, more than maxReplicas {most}; lower it, or raise that")
    if isinstance(now, int) and isinstance(least, int) and now < least:
        yield Finding(join_path(path, "replicas"), f"is {now}, less than minReplicas {least}; raise it, or lower that")


def _check_limits(group: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    """Find containers that request more than their limits, which Kubernetes refuses."""
    spec = as_mapping(as_mapping(group.get("template")).get("spec"))
    for index, container in list_mappings(spec.get("containers")):
        resources = as_mapping(container.get("resources"))
        limits = as_mapping(resources.get("limits"))
        for key, amount in as_mapping(resources.get("requests")).items():
            asked, limit = parse_quantity(amount), parse_quantity(limits.get(key))
            if asked is not None and limit is not None and asked > limit:
                where = join_path(path, "template.spec.containers", index, "resources.requests", key)
                yield Finding(where, f"is {amount}, more than the limit {limits[key]}; lower it, or raise the limit")


def _check_fault_tolerance(cluster: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    options, where = cluster.get("gcsFaultToleranceOptions"), join_path(path, "gcsFaultToleranceOptions")
    if not isinstance(options, Mapping):
        return
    if options.get("backend", "redis") == "redis" and not options.get("redisAddress"):
        yield Finding(join_path(where, "redisAddress"), "is required; write HOST:6379 of a Redis")
    params = as_mapping(as_mapping(cluster.get("headGroupSpec")).get("rayStartParams"))
    if "redis-password" in params:
        at = join_path(path, "headGroupSpec.rayStartParams.redis-password")
        yield Finding(at, "is set by gcsFaultToleranceOptions.redisPassword; remove it here")


def _check_tokens(cluster: Mapping[Any, Any], path: str) -> Iterator[Finding]:
    version = cluster.get("rayVersion")
    numbers = re.match(r"(\d+)\.(\d+)", version) if isinstance(version, str) else None
    token = as_mapping(cluster.get("authOptions")).get("mode") == "token"
    if token and numbers and (int(numbers[1]), int(numbers[2])) < _TOKENS_SINCE:
        where = join_path(path, "authOptions.mode")
        yield Finding(where, f"token needs Ray 2.52 or later, and rayVersion is {version}; use a newer Ray")
