"""Devices that are pods: each is a Deployment on its own node, dials out to a gateway, and keeps its images there."""

from __future__ import annotations

import json
from collections.abc import Sequence

from raysplit.containers.parts import REPLICA_MIB, check_name
from raysplit.containers.rayservice import DEVICE_LABEL, PART_OF
from raysplit.hardware.machine import Machine

KEY_VARIABLE = "RAYSPLIT_DEVICE_KEY"
_PLACE = "/var/lib/raysplit"


def render_devices(name: str, devices: Sequence[Machine], image: str, host: str) -> str:
    """Return a Deployment for each device, as YAML, that joins the gateway `name` at `https://HOST`.

    `image` is that of a device. Raises ConfigError for a device whose name Kubernetes does not take.

    >>> camera = Machine(name="camera", memory_mib=512, gflops_per_s=4)
    >>> render_devices("gateway", [camera], "raysplit-device:2.60.0", "gateway.example.com").count("kind: Deployment")
    1
    """
    for device in devices:
        check_name(device.name)
    return "---\n".join(
        _DEVICE.format(
            name=name,
            device=device.name,
            part_of=PART_OF,
            label=DEVICE_LABEL,
            image=image,
            command=json.dumps(_list_words(device.name, host)),
            variable=KEY_VARIABLE,
            memory=f"{REPLICA_MIB + round(device.memory_mib)}Mi",
            place=_PLACE,
        )
        for device in devices
    )


def _list_words(device: str, host: str) -> list[str]:
    where = ["--data", "folder:/data", "--states", "/states"]
    return ["raysplit", "join", f"https://{host}", "--name", device, "--key-env", KEY_VARIABLE, *where]


_DEVICE = """\
# The device {device}, on the node that is labelled with it. Before it is applied:
#   kubectl label node NODE {label}={device}
#   kubectl create secret generic {name}-{device} --from-literal=key="$(raysplit key keys.txt {device})"
# The node has its images in {place}/data, and {place}/states for its half, which user 10001 can write to.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}-{device}
  annotations:
    raysplit.io/created-elsewhere: {name}-{device}
spec:
  replicas: 1
  strategy: {{type: Recreate}} # a gateway refuses a second device of the same name
  selector:
    matchLabels: {{{part_of}: {name}-devices, {label}: {device}}}
  template:
    metadata:
      labels: {{{part_of}: {name}-devices, {label}: {device}}}
    spec:
      automountServiceAccountToken: false
      nodeSelector: {{{label}: {device}}}
      tolerations: [{{key: {label}, operator: Exists, effect: NoSchedule}}]
      securityContext: {{runAsNonRoot: true, runAsUser: 10001, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
        - name: device
          image: {image}
          command: {command}
          env:
            - name: {variable}
              valueFrom: {{secretKeyRef: {{name: {name}-{device}, key: key}}}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
          resources:
            requests: {{cpu: 500m, memory: {memory}}}
            limits: {{memory: {memory}}}
          volumeMounts:
            - {{name: data, mountPath: /data, readOnly: true}}
            - {{name: states, mountPath: /states}}
            - {{name: tmp, mountPath: /tmp}}
      volumes:
        - name: data
          hostPath: {{path: {place}/data, type: Directory}}
        - name: states
          hostPath: {{path: {place}/states, type: Directory}}
        - {{name: tmp, emptyDir: {{}}}}
"""
