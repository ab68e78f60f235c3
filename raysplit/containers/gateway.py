"""The gateway on Kubernetes: a cluster that trains with devices outside of it, which join through an Ingress by TLS."""

from __future__ import annotations

import re
from textwrap import indent

from raysplit.containers.image_names import find_ray_version
from raysplit.containers.parts import check_name
from raysplit.containers.policies import render_network_policies
from raysplit.containers.rayservice import PART_OF
from raysplit.containers.serve_config import GROUP_LABEL
from raysplit.errors import ConfigError

_GROUP = "gateway"
_KEYS_PATH = "/etc/raysplit/keys"
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")


def render_gateway(name: str, image: str, host: str) -> str:
    """Return manifests, as YAML: a RayService with the gateway, an Ingress for `host` with TLS, and NetworkPolicies.

    `image` holds Ray, raysplit with all it needs to train, and `jobs/`; its tag begins with Ray's version. The keys of
    devices and the certificate are in Secrets that are created elsewhere. Raises ConfigError for such a tag, a name
    that Kubernetes does not take, and a host that is no DNS name.

    >>> text = render_gateway("gateway", "raysplit:2.60.0", "gateway.example.com")
    >>> text.count("kind: Ingress")
    1
    """
    check_name(name)
    version = find_ray_version(image)
    if not _HOST.fullmatch(host):
        raise ConfigError(
            f"--gateway '{host}' is no DNS name; write it like gateway.example.com, without scheme or port"
        )
    pods = {
        group: _POD.format(
            part_of=PART_OF,
            name=name,
            group_label=GROUP_LABEL,
            group=group,
            container="ray-head" if group == "head" else "ray-worker",
            image=image,
            ports=_HEAD_PORTS if group == "head" else "",
            cpu=cpu,
            memory=memory,
            mounts=_MOUNTS.format(path=_KEYS_PATH) if group == _GROUP else "",
            volumes=_VOLUMES.format(name=name) if group == _GROUP else "",
        )
        for group, cpu, memory in (("head", "500m", "2Gi"), (_GROUP, "500m", "2Gi"), ("server", "1", "4Gi"))
    }
    service = _SERVICE.format(
        name=name,
        host=host,
        version=version,
        keys=f"{_KEYS_PATH}/keys.txt",
        head=indent(pods["head"], " " * 8),
        gateway=indent(pods[_GROUP], " " * 10),
        server=indent(pods["server"], " " * 10),
    )
    ingress = _INGRESS.format(name=name, host=host)
    return "---\n".join([service, ingress, render_network_policies(name, _GROUP)])


_SERVICE = """\
# A cluster that trains with devices outside of it. KubeRay 1.5.1 or later. Before it is applied:
#   raysplit key keys.txt NAME                # for each device: prints its key, of which the file holds the hash
#   kubectl create secret generic {name}-keys --from-file=keys.txt
#   kubectl create secret tls {name}-tls --cert=server.pem --key=server.key
# A device joins by `raysplit join https://{host}`. Trainings: kubectl port-forward service/{name}-head-svc 8265, then
# ray job submit --address http://127.0.0.1:8265 -- python jobs/train_split.py ...
apiVersion: ray.io/v1
kind: RayService
metadata:
  name: {name}
  annotations:
    raysplit.io/created-elsewhere: {name}-keys {name}-tls
spec:
  excludeHeadPodFromServeSvc: true # the head runs no replica
  upgradeStrategy: {{type: None}} # another cluster would end the trainings of this one (KubeRay 1.3)
  serveConfigV2: |
    http_options:
      host: 0.0.0.0
      port: 8000
      request_timeout_s: 30 # of requests; the connections of devices ask to have none
    applications:
      - name: gateway # trainings look for it under this name
        route_prefix: /
        import_path: raysplit.serving.gateway:build
        args:
          keys: {keys} # a Secret; a change of it reaches the pod within a minute or two
        deployments:
          - name: Gateway # one replica holds the calls of all devices
            num_replicas: 1
            ray_actor_options: {{num_cpus: 0, resources: {{gateway: 1}}}}
  rayClusterConfig:
    rayVersion: "{version}" # the version in the image
    authOptions:
      mode: token # nothing else can join the cluster or submit jobs; KubeRay makes the Secret
    headGroupSpec:
      rayStartParams:
        num-cpus: "0" # nothing else runs there
      template:
{head}    workerGroupSpecs:
      - groupName: gateway
        replicas: 1
        minReplicas: 1
        maxReplicas: 1
        resources: {{gateway: "1"}}
        template:
{gateway}      - groupName: server
        replicas: 1
        minReplicas: 1
        maxReplicas: 1
        resources: {{server: "1"}} # where the server half of a training runs
        template:
{server}"""

_POD = """\
metadata:
  labels: {{{part_of}: {name}, {group_label}: {group}}}
spec:
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: {container}
      image: {image}
{ports}{mounts}      securityContext:
        allowPrivilegeEscalation: false
        capabilities: {{drop: [ALL]}}
      resources:
        requests: {{cpu: {cpu}, memory: {memory}}}
        limits: {{cpu: "2", memory: {memory}}}
{volumes}"""
_HEAD_PORTS = """\
      ports:
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
        - {name: serve, containerPort: 8000}
"""
_MOUNTS = """\
      volumeMounts:
        - {{name: keys, mountPath: {path}, readOnly: true}}
"""
_VOLUMES = """\
  volumes:
    - name: keys
      secret: {{secretName: {name}-keys}}
"""

_INGRESS = """\
# Ends TLS, and passes the WebSockets of devices on. The annotations are those of ingress-nginx: a device that computes
# says nothing for a while.
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
  annotations:
    nginx.ingress.kubernetes.io/proxy-read-timeout: "3600"
    nginx.ingress.kubernetes.io/proxy-send-timeout: "3600"
    nginx.ingress.kubernetes.io/ssl-redirect: "true"
spec:
  tls:
    - hosts: [{host}]
      secretName: {name}-tls
  rules:
    - host: {host}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {name}-serve-svc # which KubeRay makes
                port: {{number: 8000}}
"""
