"""The RayService of an ensemble: a KubeRay cluster with a group of pods for each part, and the Serve config for it."""

from __future__ import annotations

from textwrap import indent

from raysplit.containers.image_names import RAY_VERSION
from raysplit.containers.parts import Application, Part
from raysplit.containers.serve_config import GROUP_LABEL, KEY_VARIABLE, ServingOptions, render_serve_config

PART_OF = "app.kubernetes.io/part-of"
ROLE_LABEL = "raysplit.io/role"
DEVICE_LABEL = "raysplit.io/device"
KEY_SECRET = "raysplit"
_HEAD_MIB = 2048


def render_rayservice(app: Application, options: ServingOptions) -> str:
    """Return the RayService, as YAML, of an ensemble whose images `raysplit image` built."""
    groups = "".join(_render_group(part, options, app.name) for part in app.parts)
    return _SERVICE.format(
        name=app.name,
        count=sum(len(part.submodels) for part in app.submodels),
        bundle=app.bundle_id[:12],
        version=RAY_VERSION,
        secret=KEY_SECRET,
        scaling=str(any(options.of(part).scales for part in app.parts)).lower(),
        config=indent(render_serve_config(app, options), " " * 4),
        head=indent(_render_pod(app.name, app.ingress.image, "head", _HEAD, _HEAD_MIB, "head"), " " * 8),
        workers=indent(groups, " " * 6),
    )


def _render_group(part: Part, options: ServingOptions, name: str) -> str:
    replicas = options.of(part)
    pod = _render_pod(name, part.image, part.group, _WORKER, part.memory_mib, _role(part))
    return _GROUP.format(
        name=part.group,
        least=replicas.least,
        most=replicas.largest,
        offered=(_RESOURCE if options.pin == "resource" else _LABEL).format(name=part.group, label=GROUP_LABEL),
        pod=indent(pod, " " * 4),
    )


def _role(part: Part) -> str:
    return "submodel" if part.submodels else "ingress"


def _render_pod(name: str, image: str, group: str, container: str, memory_mib: int, role: str) -> str:
    filled = container.format(
        image=image,
        variable=KEY_VARIABLE,
        secret=KEY_SECRET,
        environment=_HEALTH_CHECKS if role == "head" else "",
        memory=f"{memory_mib}Mi",
    )
    return _POD.format(
        part_of=PART_OF,
        name=name,
        group_label=GROUP_LABEL,
        group=group,
        role_label=ROLE_LABEL,
        role=role,
        container=indent(filled, " " * 4),
    )


_SERVICE = """\
# An ensemble of {count} sub-models, bundle {bundle}: a group of pods for each part of it. KubeRay 1.5.1 or later.
apiVersion: ray.io/v1
kind: RayService
metadata:
  name: {name}
  annotations:
    raysplit.io/created-elsewhere: {secret} # its Secret; kubectl creates it, so that no key is in a file
spec:
  excludeHeadPodFromServeSvc: true # the head runs no replica
  upgradeStrategy: {{type: NewCluster}} # a changed cluster takes over once it is ready (KubeRay 1.3)
  rayClusterDeletionDelaySeconds: 60 # what the old one still answers is answered (KubeRay 1.4)
  serveConfigV2: |
{config}  rayClusterConfig:
    rayVersion: "{version}" # the version in the images
    enableInTreeAutoscaling: {scaling}
    authOptions:
      mode: token # nothing else can join the cluster or submit jobs (KubeRay 1.5.1); KubeRay makes the Secret
    headGroupSpec:
      rayStartParams:
        num-cpus: "0" # replicas run on workers only
      template:
{head}    workerGroupSpecs:
{workers}"""

_GROUP = """\
- groupName: {name}
  replicas: {least}
  minReplicas: {least} # a deployment without a pod never becomes ready
  maxReplicas: {most}
{offered}  template:
{pod}"""

_RESOURCE = """\
  resources: {{{name}: "1"}} # the custom resource that the deployment requests
"""
_LABEL = """\
  labels: {{{label}: {name}}} # the label of Ray that the deployment requests (KubeRay 1.5)
  rayStartParams: {{num-cpus: "1"}} # one replica
"""

_POD = """\
metadata:
  labels: {{{part_of}: {name}, {group_label}: {group}, {role_label}: {role}}}
spec:
  terminationGracePeriodSeconds: 90
  securityContext: {{runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
{container}  volumes:
    - {{name: tmp, emptyDir: {{}}}} # Ray's sessions; the rest of the file system is read-only
"""

_COMMON = """\
  image: {image}
  env:
    - name: {variable}
      valueFrom: {{secretKeyRef: {{name: {secret}, key: api-key}}}}
{environment}  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {{drop: [ALL]}}
  volumeMounts:
    - {{name: tmp, mountPath: /tmp}}
"""

_HEALTH_CHECKS = """\
    # A node that is off the network is given up after 8 to 28 s, and its part is started anew.
    - {name: RAY_health_check_period_ms, value: "2000"}
    - {name: RAY_health_check_timeout_ms, value: "5000"}
    - {name: RAY_health_check_failure_threshold, value: "4"}
"""
"""Of the head's GCS; by Ray's own a node is given up after 15 to 65 s, which may be when it is long back."""

_HEAD = (
    "- name: ray-head\n"
    + _COMMON
    + """\
  ports:
    - {{name: gcs-server, containerPort: 6379}}
    - {{name: dashboard, containerPort: 8265}}
    - {{name: client, containerPort: 10001}}
    - {{name: serve, containerPort: 8000}}
  readinessProbe: {{httpGet: {{path: /api/gcs_healthz, port: 8265}}, periodSeconds: 5, timeoutSeconds: 2}}
  livenessProbe: # the Ray node
    httpGet: {{path: /api/healthz, port: 52365}}
    initialDelaySeconds: 30
    periodSeconds: 5
    timeoutSeconds: 2
    failureThreshold: 12
  resources:
    requests: {{cpu: 500m, memory: {memory}}}
    limits: {{cpu: "2", memory: {memory}}}
"""
)

_WORKER = (
    "- name: ray-worker\n"
    + _COMMON
    + """\
  ports:
    - {{name: serve, containerPort: 8000}}
  readinessProbe: # Serve's proxy, which runs on every node with a replica
    httpGet: {{path: /-/healthz, port: 8000}}
    periodSeconds: 5
    timeoutSeconds: 2
    failureThreshold: 1
  livenessProbe: # the Ray node
    httpGet: {{path: /api/healthz, port: 52365}}
    initialDelaySeconds: 30
    periodSeconds: 5
    timeoutSeconds: 2
    failureThreshold: 24
  lifecycle: # Serve moves its replica to another pod of the group, if there is room; it answers until then, or for 60 s
    preStop:
      exec:
        command:
          - /bin/sh
          - -c
          - |
            timeout 20 ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message deleted \\
              --deadline-remaining-seconds 60
            n=0
            while [ $n -lt 60 ] && grep -qs 'ray::[S]erveReplica' /proc/[0-9]*/cmdline; do sleep 1; n=$((n+1)); done
            sleep 5 # the Service learns of it
            ray stop
  resources: # for Ray's node and one replica with its weights
    requests: {{cpu: "1", memory: {memory}}}
    limits: {{cpu: "2", memory: {memory}}}
"""
)
