"""A folder for `kubectl apply -k`: what every place has in common, and what development, edge and production change."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from raysplit.containers.parts import Application
from raysplit.containers.policies import (
    render_disruption_budgets,
    render_network_policies,
    render_redis,
    render_redis_patch,
)
from raysplit.containers.rayservice import DEVICE_LABEL, KEY_SECRET, PART_OF, render_rayservice
from raysplit.containers.serve_config import Pin, Replicas, ServingOptions, render_serve_config
from raysplit.utils.storage import Folder

OVERLAYS = ("dev", "edge", "production")
_FAULT_TOLERANCE = "components/gcs-fault-tolerance"
_EDGE_TIMEOUT_S = 10.0
"""Over thin links, a sub-model may take longer."""
_MOST_INGRESSES, _MOST_REPLICAS = 6, 3
_WORKERS = "/spec/rayClusterConfig/workerGroupSpecs"


def write_kustomize(app: Application, out: str, pin: Pin = "resource") -> list[str]:
    """Write the folder by path or URI, all files or none, and return their names; ConfigError if it cannot be written.

    A base, a component that keeps the cluster's state in Redis, and an overlay for each of `OVERLAYS`.
    """
    files = render_kustomize(app, pin)
    Folder.at(out).write_all({name: text.encode() for name, text in files.items()})
    return sorted(files)


def render_kustomize(app: Application, pin: Pin = "resource") -> dict[str, str]:
    """Return the files of the folder, YAML by name."""
    base = ServingOptions({}, pin=pin)
    production = ServingOptions(
        {part.group: Replicas(1, _MOST_REPLICAS) for part in app.submodels}
        | {app.ingress.group: Replicas(2, _MOST_INGRESSES)},
        pin=pin,
    )
    edge = ServingOptions({app.ingress.group: Replicas(2)}, branch_timeout_s=_EDGE_TIMEOUT_S, pin=pin)
    return {
        "base/kustomization.yaml": _BASE.format(part_of=PART_OF, name=app.name),
        "base/rayservice.yaml": render_rayservice(app, base),
        "base/network-policies.yaml": render_network_policies(app.name, app.ingress.group),
        f"{_FAULT_TOLERANCE}/kustomization.yaml": _COMPONENT,
        f"{_FAULT_TOLERANCE}/redis.yaml": render_redis(app),
        f"{_FAULT_TOLERANCE}/rayservice.yaml": render_redis_patch(app),
        "overlays/dev/kustomization.yaml": _DEV.format(secret=KEY_SECRET),
        "overlays/dev/rayservice.yaml": "".join(_patch_dev(app)),
        "overlays/edge/kustomization.yaml": _EDGE,
        "overlays/edge/disruption-budgets.yaml": render_disruption_budgets(app),
        "overlays/edge/rayservice.yaml": _patch_config(app, edge) + "".join(_patch_nodes(app)),
        "overlays/production/kustomization.yaml": _PRODUCTION,
        "overlays/production/disruption-budgets.yaml": render_disruption_budgets(app),
        "overlays/production/rayservice.yaml": _patch_config(app, production) + _AUTOSCALER,
    }


def _patch_config(app: Application, options: ServingOptions) -> str:
    """Return the JSON patch to other numbers of replicas: of the deployments, and of the pods that hold them."""
    lines = _replace("/spec/serveConfigV2", "|\n" + indent(render_serve_config(app, options), " " * 4).rstrip("\n"))
    for index, part in enumerate(app.parts):
        replicas = options.of(part)
        counts = {"replicas": replicas.least, "minReplicas": replicas.least, "maxReplicas": replicas.largest}
        if replicas != Replicas(1):
            lines += "".join(_replace(f"{_WORKERS}/{index}/{key}", str(count)) for key, count in counts.items())
    return lines


def _patch_dev(app: Application) -> Iterator[str]:
    """Yield smaller requests, so that all pods fit on a laptop's one node."""
    for index, _ in enumerate(app.parts):
        container = f"{_WORKERS}/{index}/template/spec/containers/0"
        yield _replace(f"{container}/resources/requests/cpu", "200m")
        yield _add(f"{container}/imagePullPolicy", "IfNotPresent")  # images that were loaded into the node


def _patch_nodes(app: Application) -> Iterator[str]:
    """Yield the nodes of the groups of sub-models: each has the label of its device, and may have it as a taint."""
    for index, part in enumerate(app.parts):
        if not part.submodels:
            continue
        pod = f"{_WORKERS}/{index}/template/spec"
        device = part.device or part.group
        yield _add(f"{pod}/nodeSelector", f"{{{DEVICE_LABEL}: {device}}}")
        yield _add(f"{pod}/tolerations", f"[{{key: {DEVICE_LABEL}, operator: Exists, effect: NoSchedule}}]")
        yield _add(f"{pod}/containers/0/imagePullPolicy", "IfNotPresent")  # an image crosses the thin link once


def _replace(path: str, value: str) -> str:
    return f"- op: replace\n  path: {path}\n  value: {value}\n"


def _add(path: str, value: str) -> str:
    return f"- op: add\n  path: {path}\n  value: {value}\n"


_KIND = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
"""
_PATCHES = """\
patches:
  - path: rayservice.yaml
    target: {group: ray.io, version: v1, kind: RayService}
"""
_BASE = (
    "# What every place has in common; apply an overlay: kubectl apply -k overlays/production\n"
    + _KIND
    + """\
resources: [rayservice.yaml, network-policies.yaml]
labels:
  - pairs: {{{part_of}: {name}}}
"""
)
_COMPONENT = (
    """\
# With it, workers answer while the head is restarted. Before it is applied:
#   kubectl create secret generic raysplit-redis --from-literal=password="$(openssl rand -hex 32)"
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources: [redis.yaml]
"""
    + _PATCHES
)
_DEV = (
    "# One node, such as kind or minikube: small requests, one pod of each part, a key that is no secret.\n"
    + _KIND
    + """\
namespace: raysplit-dev
resources: [../../base]
secretGenerator:
  - name: {secret}
    literals: [api-key=for-development-only]
generatorOptions: {{disableNameSuffixHash: true}} # Kustomize does not know where a RayService names it
"""
    + _PATCHES.replace("{", "{{").replace("}", "}}")
)
_EDGE = (
    """\
# Sub-models on nodes of their own: label each with its device, and taint it if nothing else may run there.
#   kubectl label node NODE raysplit.io/device=DEVICE; kubectl taint node NODE raysplit.io/device=DEVICE:NoSchedule
"""
    + _KIND
    + """\
namespace: raysplit
resources: [../../base, disruption-budgets.yaml]
components: [../../components/gcs-fault-tolerance]
"""
    + _PATCHES
)
_PRODUCTION = (
    """\
# Scales with the load: Serve's autoscaling asks for replicas, and KubeRay's autoscaler for their pods. Before it:
#   kubectl create secret generic raysplit --from-literal=api-key="$(openssl rand -hex 32)"
"""
    + _KIND
    + """\
namespace: raysplit
resources: [../../base, disruption-budgets.yaml]
components: [../../components/gcs-fault-tolerance]
"""
    + _PATCHES
)
_AUTOSCALER = """\
- op: replace
  path: /spec/rayClusterConfig/enableInTreeAutoscaling
  value: true
- op: add # of the second version (KubeRay 1.4)
  path: /spec/rayClusterConfig/autoscalerOptions
  value:
    version: v2
    idleTimeoutSeconds: 120
    resources:
      requests: {cpu: 200m, memory: 512Mi}
      limits: {cpu: 500m, memory: 512Mi}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"""
