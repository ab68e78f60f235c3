"""The core manifests around a RayService: who may connect, how many pods an eviction may take, Redis for the GCS."""

from __future__ import annotations

from raysplit.containers.parts import Application
from raysplit.containers.rayservice import PART_OF, ROLE_LABEL
from raysplit.containers.serve_config import GROUP_LABEL

REDIS_SECRET = "raysplit-redis"


def render_network_policies(name: str, entry: str) -> str:
    """Return NetworkPolicies of a cluster: clients reach the group `entry` alone, and KubeRay's operator all pods."""
    return _NETWORK.format(name=name, entry=entry, part_of=PART_OF, group_label=GROUP_LABEL)


def render_disruption_budgets(app: Application) -> str:
    """Return PodDisruptionBudgets: draining nodes takes at most one pod with sub-models, and never all of HTTP."""
    return _BUDGETS.format(name=app.name, part_of=PART_OF, role_label=ROLE_LABEL)


def render_redis(app: Application) -> str:
    """Return a Redis that keeps the cluster's state while its head is restarted."""
    return _REDIS.format(name=app.name, part_of=PART_OF, group_label=GROUP_LABEL, secret=REDIS_SECRET)


def render_redis_patch(app: Application) -> str:
    """Return the JSON patch that makes a RayService's cluster keep its state in that Redis."""
    return _REDIS_PATCH.format(name=app.name, secret=REDIS_SECRET)


_NETWORK = """\
# Pods of the cluster talk among themselves; KubeRay's operator submits the Serve config and asks for its state; all
# else reaches the group {entry} alone, at Serve's port. Needs a network plugin that enforces policies.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {name}-cluster
spec:
  podSelector:
    matchLabels: {{{part_of}: {name}}}
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector:
            matchLabels: {{{part_of}: {name}}}
    - from:
        - namespaceSelector: {{}}
          podSelector:
            matchLabels: {{app.kubernetes.io/name: kuberay-operator}}
      ports:
        - {{protocol: TCP, port: 8265}}
        - {{protocol: TCP, port: 52365}}
        - {{protocol: TCP, port: 8000}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {name}-clients
spec:
  podSelector:
    matchLabels: {{{part_of}: {name}, {group_label}: {entry}}}
  policyTypes: [Ingress]
  ingress:
    - ports:
        - {{protocol: TCP, port: 8000}}
"""

_BUDGETS = """\
# What draining nodes may take at a time; a crash is no disruption that a budget prevents.
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {name}-ingress
spec:
  minAvailable: 1
  selector:
    matchLabels: {{{part_of}: {name}, {role_label}: ingress}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {name}-submodels
spec:
  maxUnavailable: 1 # the fusion answers well without one of them
  selector:
    matchLabels: {{{part_of}: {name}, {role_label}: submodel}}
"""

_REDIS = """\
# The state of the cluster's head (GCS): with it, workers go on answering while the head is restarted.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}-redis
  annotations:
    raysplit.io/created-elsewhere: {secret}
spec:
  replicas: 1
  strategy: {{type: Recreate}} # two must not write to one volume
  selector:
    matchLabels: {{{part_of}: {name}, {group_label}: redis}}
  template:
    metadata:
      labels: {{{part_of}: {name}, {group_label}: redis}}
    spec:
      securityContext: {{runAsNonRoot: true, runAsUser: 999, fsGroup: 999, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
        - name: redis
          image: redis:7.4-alpine
          args: [--requirepass, $(REDIS_PASSWORD), --appendonly, "yes", --dir, /data]
          env:
            - name: REDIS_PASSWORD
              valueFrom: {{secretKeyRef: {{name: {secret}, key: password}}}}
          ports:
            - {{name: redis, containerPort: 6379}}
          readinessProbe: {{tcpSocket: {{port: 6379}}, periodSeconds: 5}}
          livenessProbe: {{tcpSocket: {{port: 6379}}, periodSeconds: 10}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
          resources:
            requests: {{cpu: 100m, memory: 128Mi}}
            limits: {{cpu: 500m, memory: 256Mi}}
          volumeMounts:
            - {{name: data, mountPath: /data}}
      volumes:
        - name: data
          persistentVolumeClaim: {{claimName: {name}-redis}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {name}-redis
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests: {{storage: 1Gi}}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}-redis
spec:
  selector: {{{part_of}: {name}, {group_label}: redis}}
  ports:
    - {{name: redis, port: 6379, targetPort: redis}}
"""

_REDIS_PATCH = """\
- op: add # KubeRay 1.3
  path: /spec/rayClusterConfig/gcsFaultToleranceOptions
  value:
    redisAddress: {name}-redis:6379
    redisPassword:
      valueFrom: {{secretKeyRef: {{name: {secret}, key: password}}}}
"""
