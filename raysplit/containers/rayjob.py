"""A RayJob that trains on Kubernetes: the device half and the server half on nodes of their own."""

from __future__ import annotations

import json
from textwrap import indent

from raysplit.containers.image_names import find_ray_version
from raysplit.containers.rayservice import PART_OF
from raysplit.containers.serve_config import GROUP_LABEL
from raysplit.errors import ConfigError

GROUPS = ("device", "server")
"""Groups of pods, each with the custom resource that a training asks for."""


def render_rayjob(name: str, command: str, image: str) -> str:
    """Return a RayJob, as YAML, that runs `python COMMAND` in a cluster of its own and deletes that afterwards.

    `image` holds Ray, raysplit and the job's file, and its tag begins with Ray's version. Raises ConfigError if it does
    not, and for a command without a file.

    >>> text = render_rayjob("train", "jobs/train_split.py --recipe mnist5k_vgg11_deprune", "raysplit:2.60.0")
    >>> text.count("groupName: ")
    2
    """
    version = find_ray_version(image)
    if not command.split() or not command.split()[0].endswith(".py"):
        raise ConfigError(f"job '{command}' begins with no file; write it like 'jobs/train_split.py --recipe NAME'")
    head = _render_pod(name, "head", "ray-head", image, "500m", "2Gi", _HEAD_PORTS)
    workers = "".join(
        _GROUP.format(name=group, pod=indent(_render_pod(name, group, "ray-worker", image, "1", "4Gi", ""), " " * 4))
        for group in GROUPS
    )
    return _JOB.format(
        name=name,
        command=json.dumps(f"python {command}"),
        version=version,
        head=indent(head, " " * 8),
        workers=indent(workers, " " * 6),
    )


def _render_pod(name: str, group: str, container: str, image: str, cpu: str, memory: str, ports: str) -> str:
    return _POD.format(
        part_of=PART_OF,
        name=name,
        group_label=GROUP_LABEL,
        group=group,
        container=container,
        image=image,
        ports=ports,
        cpu=cpu,
        memory=memory,
    )


_JOB = """\
# A training on Kubernetes: kubectl create -f FILE. KubeRay 1.5.1 or later.
apiVersion: ray.io/v1
kind: RayJob
metadata:
  name: {name}
spec:
  entrypoint: {command}
  shutdownAfterJobFinishes: true
  ttlSecondsAfterFinished: 600 # its logs can be read until then
  rayClusterSpec:
    rayVersion: "{version}" # the version in the image
    authOptions:
      mode: token # nothing else can join the cluster or submit jobs
    headGroupSpec:
      rayStartParams:
        num-cpus: "0" # halves run on workers only
      template:
{head}    workerGroupSpecs:
{workers}"""

_GROUP = """\
- groupName: {name}
  replicas: 1
  minReplicas: 1
  maxReplicas: 1
  resources: {{{name}: "1"}} # where this half runs
  template:
{pod}"""

_POD = """\
metadata:
  labels: {{{part_of}: {name}, {group_label}: {group}}}
spec:
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: {container}
      image: {image}
{ports}      securityContext:
        allowPrivilegeEscalation: false
        capabilities: {{drop: [ALL]}}
      resources:
        requests: {{cpu: "{cpu}", memory: {memory}}}
        limits: {{cpu: "2", memory: {memory}}}
"""
_HEAD_PORTS = """\
      ports:
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
"""
