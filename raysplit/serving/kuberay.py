"""An ensemble on Kubernetes: a KubeRay RayService with a group of pods, a microservice, for each sub-model."""

from __future__ import annotations

import json
import re
from textwrap import indent

from raysplit.errors import ConfigError

_IMAGE = re.compile(r"[\w./:-]+:(\d+\.\d+\.\d+)[\w.-]*")
"""An image whose tag begins with the version of Ray that is in it."""
_INGRESS_PODS = 2


def manifest(submodels: int, bundle: str, image: str) -> str:
    """Return a RayService, as YAML, for an ensemble of so many sub-models.

    `bundle` is where pods find it, `image` has Ray, raysplit and, unless `bundle` is a URI, the bundle; its tag
    begins with Ray's version, like `registry/raysplit:2.60.0`. Raises ConfigError for a tag that does not.
    """
    found = _IMAGE.fullmatch(image)
    if not found:
        raise ConfigError(f"image '{image}' does not tell its Ray version; tag it with that, like raysplit:2.60.0")
    groups = {"ingress": _INGRESS_PODS} | {f"submodel-{index}": 1 for index in range(submodels)}
    return _SERVICE.format(
        submodels=submodels,
        bundle=bundle,
        version=found[1],
        image=image,
        config=indent(_config(bundle, groups), " " * 4),
        head=indent(_container("ray-head", image, _HEAD), " " * 12),
        workers=indent("".join(_worker(name, pods, image) for name, pods in groups.items()), " " * 6),
    )


def _config(bundle: str, groups: dict[str, int]) -> str:
    rows = "".join(
        _ROW.format(name="Ingress" if group == "ingress" else group, replicas=pods, group=group)
        for group, pods in groups.items()
    )
    return _CONFIG.format(bundle=json.dumps(bundle, ensure_ascii=False), deployments=indent(rows, " " * 6))


def _worker(name: str, pods: int, image: str) -> str:
    return _GROUP.format(name=name, pods=pods, container=indent(_container("ray-worker", image, _WORKER), " " * 8))


def _container(name: str, image: str, rest: str) -> str:
    return f"- name: {name}\n  image: {image}\n{indent(_KEY + rest, '  ')}"


_SERVICE = """\
# An ensemble of {submodels} sub-models on Kubernetes: one group of pods, so one microservice, for each, and one that
# speaks HTTP. `raysplit kuberay` wrote this file; `raysplit check` checks the Serve config in it. It needs KubeRay
# 1.5.1 or later. Every group may have an image of its own: all with one Python, one Ray, raysplit, and the bundle where
# `bundle` says, like (with the wheel that `pip wheel --no-deps .` makes of this package)
#
#   FROM rayproject/ray:{version}-py311-cpu
#   COPY raysplit-*.whl .
#   RUN pip install raysplit-*.whl
#   COPY bundle {bundle}
#
#   kubectl create secret generic raysplit --from-literal=api-key="$(openssl rand -hex 32)"
#   kubectl apply -f FILE
#   kubectl port-forward service/raysplit-ensemble-serve-svc 8000
#
# A change of serveConfigV2 is made in place, one of rayClusterConfig by a new cluster that takes over when it is
# ready: apply one or the other, not both at once. A new bundle comes with a new image, so with a new cluster.
apiVersion: ray.io/v1
kind: RayService
metadata:
  name: raysplit-ensemble
spec:
  excludeHeadPodFromServeSvc: true # it holds no replica
  serveConfigV2: |
{config}  rayClusterConfig:
    rayVersion: "{version}" # that of the image
    authOptions:
      mode: token # nobody else joins the cluster or submits jobs
    headGroupSpec:
      rayStartParams:
        num-cpus: "0" # replicas go to workers alone
      template:
        spec:
          containers:
{head}    workerGroupSpecs:
{workers}"""

_CONFIG = """\
http_options:
  host: 0.0.0.0
  port: 8000
  request_timeout_s: 30
applications:
  - name: ensemble
    route_prefix: /
    import_path: raysplit.serving.ensemble:build
    args:
      bundle: {bundle}
      missing: drop # a sub-model whose pod is gone is filled in, and the answer says so
      branch_timeout_s: 2
      access:
        api_key_env: RAYSPLIT_API_KEY
    # Each replica takes all of a resource that one pod of its group offers: as many replicas as pods.
    deployments:
{deployments}"""

_ROW = """\
- name: {name}
  num_replicas: {replicas}
  ray_actor_options: {{num_cpus: 1, resources: {{{group}: 1}}}}
"""

_GROUP = """\
- groupName: {name}
  replicas: {pods}
  minReplicas: {pods} # a deployment without a pod never gets ready
  maxReplicas: {pods}
  resources: {{{name}: "1"}} # the resource that its deployment asks for
  template:
    spec:
      containers:
{container}"""

_KEY = """\
env:
  - name: RAYSPLIT_API_KEY
    valueFrom:
      secretKeyRef: {name: raysplit, key: api-key}
"""

_HEAD = """\
ports:
  - {name: gcs-server, containerPort: 6379}
  - {name: dashboard, containerPort: 8265}
  - {name: client, containerPort: 10001}
  - {name: serve, containerPort: 8000}
resources:
  requests: {cpu: "1", memory: 4Gi}
  limits: {cpu: "2", memory: 4Gi}
"""

_WORKER = """\
ports:
  - {name: serve, containerPort: 8000}
readinessProbe: # Serve's proxy, which runs where there is a replica
  httpGet: {path: /-/healthz, port: 8000}
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 1
livenessProbe: # Ray's node
  httpGet: {path: /api/healthz, port: 52365}
  initialDelaySeconds: 30
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 120
resources: # one CPU for the replica, one for Ray; a replica takes about 1 GiB
  requests: {cpu: "2", memory: 3Gi}
  limits: {cpu: "2", memory: 3Gi}
"""
