"""The Serve config of an ensemble in containers: each deployment is pinned to its own group of pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import indent
from typing import Literal

from raysplit.containers.image_names import BUNDLE_PATH
from raysplit.containers.parts import Application, Part

Pin = Literal["resource", "label"]
"""What pins a deployment to its group of pods: a custom resource, of which a replica takes all, or a label of Ray."""
KEY_VARIABLE = "RAYSPLIT_API_KEY"
GROUP_LABEL = "raysplit.io/group"
_INGRESS_TARGET, _SUBMODEL_TARGET = 16, 2
"""Requests, or batches, under way in a replica that autoscaling aims at."""


@dataclass(frozen=True)
class Replicas:
    """How many replicas a deployment has, and its group pods.

    >>> Replicas(2).scales, Replicas(1, 3).scales
    (False, True)
    """

    least: int
    most: int | None = None
    """With autoscaling; None: always `least`."""

    @property
    def scales(self) -> bool:
        """Whether Serve changes their number with the load."""
        return self.most is not None and self.most > self.least

    @property
    def largest(self) -> int:
        """The most that there can be."""
        return self.most if self.most is not None else self.least


@dataclass(frozen=True)
class ServingOptions:
    """What differs between places where an ensemble runs."""

    replicas: Mapping[str, Replicas]
    """By the name of a group."""
    access: Literal["key", "anyone"] = "key"
    branch_timeout_s: float = 2.0
    pin: Pin = "resource"

    def of(self, part: Part) -> Replicas:
        """Return the replicas of a part, one unless it is said."""
        return self.replicas.get(part.group, Replicas(1))


def render_serve_config(app: Application, options: ServingOptions) -> str:
    """Return the config, as YAML, of `raysplit.serving.ensemble:build` with one replica in each pod of a group."""
    access = f"{{api_key_env: {KEY_VARIABLE}}}" if options.access == "key" else "{anyone: true}"
    groups = "".join(f"\n        {name}: {_flow(indices)}" for name, indices in app.groups.items()) or " {}"
    deployments = "".join(_render_deployment(part, options) for part in app.parts)
    return _CONFIG.format(
        name=app.name,
        bundle=BUNDLE_PATH,
        timeout=f"{options.branch_timeout_s:g}",
        groups=groups,
        access=access,
        deployments=indent(deployments, " " * 6),
    )


def _render_deployment(part: Part, options: ServingOptions) -> str:
    replicas = options.of(part)
    if replicas.scales:
        target = _SUBMODEL_TARGET if part.submodels else _INGRESS_TARGET
        scaling = (
            f"  autoscaling_config: {{min_replicas: {replicas.least}, max_replicas: {replicas.most}, "
            f"target_ongoing_requests: {target}}}\n"
        )
    else:
        scaling = f"  num_replicas: {replicas.least}\n"
    pinned = (
        f"resources: {{{part.group}: 1}}"
        if options.pin == "resource"
        else f"label_selector: {{{GROUP_LABEL}: {part.group}}}"
    )
    return _DEPLOYMENT.format(name=part.deployment, scaling=scaling, pinned=pinned)


def _flow(items: Sequence[int]) -> str:
    return f"[{', '.join(map(str, items))}]"


_CONFIG = """\
http_options:
  host: 0.0.0.0
  port: 8000
  request_timeout_s: 30
applications:
  - name: {name}
    route_prefix: /
    import_path: raysplit.serving.ensemble:build
    args:
      bundle: {bundle} # in every image: the manifest, and of the weights only what its pods compute with
      missing: drop # if a sub-model's pod is gone, its features are filled in and answers are marked as degraded
      branch_timeout_s: {timeout}
      groups:{groups}
      access: {access}
    # A replica takes all of one pod in its group, so there are as many replicas as pods.
    deployments:
{deployments}"""

_DEPLOYMENT = """\
- name: {name}
{scaling}  graceful_shutdown_timeout_s: 20
  ray_actor_options: {{num_cpus: 1, {pinned}}}
"""
