"""The device side as a Ray actor, and a check that the cluster has the resources for it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Generic, TypeVar

import ray

from raysplit.config import RayConfig, SplitConfig
from raysplit.errors import ClusterError, DeviceLostError
from raysplit.schedules.base import Decision
from raysplit.train.device import DeviceFacts, LocalScore, Score, Split, TailAnswer, Uplink
from raysplit.train.device_side import DeviceSide
from raysplit.train.nodes import name_node
from raysplit.train.threads import use_threads

# Halves alternate in lock-step. A half's threads may spin between two operations, but not until the half's next
# turn: they would take the cores from the other half. And memory that is returned to the system between steps has to be
# faulted in again (glibc accepts no mmap threshold above 32 MiB). docs/log.md has what each setting gains.
#
# A message up to RAY_max_direct_call_object_size travels in the call itself. Above it, Ray puts the message in its
# object store and the other node has to fetch it: on a thin link two messages in flight then stall each other for a
# second.
#
# Ray gives its workers a niceness of 15, with which one other busy process takes nearly all of a core: the threads of a
# half then wait for the one on that core. A worker may have none on any cluster, for it sets its own.
ENVIRONMENT = {
    "GOMP_SPINCOUNT": "10000",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    "RAY_max_direct_call_object_size": str(1 << 21),
    "RAY_worker_niceness": "0",
}
_POLL_S = 0.5
_FREED_S = 3.0
"""How long a cluster may take to notice that a killed actor's place is free."""
T = TypeVar("T")


class DeviceActor(DeviceSide):
    """The device side of the loop as an actor."""

    def __init__(self) -> None:
        """Start without a half: Ray reports an exception in a constructor as a dead actor, without its type."""

    def setup(self, config: SplitConfig, index: int) -> None:
        """Build the half of device `index`, by the config of the run."""
        use_threads(config)
        super().__init__(config, index)

    def describe(self) -> DeviceFacts:
        """Return what every device does, with the name of the cluster's node."""
        return replace(super().describe(), node=name_node(ray.get_runtime_context().get_node_id()))


class RayDevice:
    """A device actor, placed on a node that offers the device resource if there is one.

    Its calls raise ClusterError when they are not answered within `ray.call_timeout_s`.
    """

    def __init__(self, config: SplitConfig, index: int = 0):
        """Begin to start the actor; `ready` waits for it."""
        self._index = index
        self._timeout, self._start_timeout = config.ray.call_timeout_s, config.ray.start_timeout_s
        self._request = device_request(config.ray, ray.cluster_resources())
        remote: Any = ray.remote(DeviceActor).options(
            num_cpus=0, resources=self._request, runtime_env={"env_vars": ENVIRONMENT}, max_restarts=0
        )
        self._actor = remote.remote()
        self._started = self._actor.__ray_ready__.remote()
        self._built = self._call(self._actor.setup.remote(config, index))

    def ready(self) -> None:
        """Wait until the half is built; raises what building it raises.

        Raises ClusterError when no node has room or the actor is not there within `ray.start_timeout_s`.
        """
        try:
            ray.get(self._started, timeout=self._start_timeout)
        except ray.exceptions.GetTimeoutError:
            self.close()
            raise _start_error(self._request, self._start_timeout) from None
        self._built.result()

    def describe(self) -> RayCall[DeviceFacts]:
        return self._call(self._actor.describe.remote())

    def begin_epoch(self, epoch: int, decision: Decision) -> RayCall[None]:
        return self._call(self._actor.begin_epoch.remote(epoch, decision))

    def forward(self) -> RayCall[Uplink]:
        return self._call(self._actor.forward.remote())

    def backward(self, gradient: bytes) -> RayCall[None]:
        return self._call(self._actor.backward.remote(gradient))

    def exchange(self, gradient: bytes) -> RayCall[Uplink]:
        return self._call(self._actor.exchange.remote(gradient))

    def answer(self, features: bytes) -> RayCall[TailAnswer]:
        return self._call(self._actor.answer.remote(features))

    def score(self, features: bytes) -> RayCall[Score]:
        return self._call(self._actor.score.remote(features))

    def train_alone(self) -> RayCall[LocalScore]:
        return self._call(self._actor.train_alone.remote())

    def hand_over(self) -> RayCall[bytes]:
        return self._call(self._actor.hand_over.remote())

    def agree(self, mean: tuple[float, ...], std: tuple[float, ...]) -> RayCall[None]:
        return self._call(self._actor.agree.remote(mean, std))

    def weights(self) -> RayCall[bytes]:
        return self._call(self._actor.weights.remote())

    def adopt(self, weights: bytes) -> RayCall[None]:
        return self._call(self._actor.adopt.remote(weights))

    def evaluate(self, split: Split, index: int) -> RayCall[Uplink]:
        return self._call(self._actor.evaluate.remote(split, index))

    def evaluate_alone(self, split: Split, index: int) -> RayCall[LocalScore]:
        return self._call(self._actor.evaluate_alone.remote(split, index))

    def state(self) -> RayCall[bytes]:
        return self._call(self._actor.state.remote())

    def restore(self, state: bytes) -> RayCall[None]:
        return self._call(self._actor.restore.remote(state))

    def is_ready(self) -> bool:
        ready, _ = ray.wait([self._last], timeout=0)
        return bool(ready)

    def close(self) -> None:
        ray.kill(self._actor)

    def _call(self, reference: ray.ObjectRef[Any]) -> RayCall[Any]:
        self._last = reference
        return RayCall(reference, self._index, self._timeout)


def start_ray_devices(config: SplitConfig) -> list[RayDevice]:
    """Start a run's actors on the cluster, side by side; raises as `RayDevice.ready`, and leaves none behind."""
    devices: list[RayDevice] = []
    try:
        devices += [RayDevice(config, index) for index in range(config.devices.on_cluster)]
        for device in devices:
            device.ready()
    except BaseException:
        # The traceback holds the handles, which would keep the actors alive and their resources taken.
        for device in devices:
            device.close()
        raise
    return devices


class RayCall(Generic[T]):
    """A call to an actor that is under way."""

    def __init__(self, reference: ray.ObjectRef[Any], device: int, timeout: float):
        self._reference, self._device, self._timeout = reference, device, timeout

    def result(self, timeout_s: float | None = None) -> T:
        """Wait for the answer; raises what the actor raised, or DeviceLostError where it died or is late."""
        timeout, setting = self._timeout, "ray.call_timeout_s"
        if timeout_s is not None and timeout_s < timeout:
            timeout, setting = timeout_s, "devices.deadline_s"
        try:
            answer: T = ray.get(self._reference, timeout=timeout)
            return answer
        except ray.exceptions.GetTimeoutError:
            raise DeviceLostError(
                f"device {self._device} did not answer within {timeout:g} s; look at its node, or raise {setting}",
                self._device,
                late=True,
            ) from None
        except (ray.exceptions.RayActorError, ray.exceptions.ActorUnavailableError):
            raise DeviceLostError(
                f"device {self._device} has died; look at its node (`ray list actors` says why)", self._device
            ) from None
        except ray.exceptions.RayTaskError as err:
            raise err.cause if isinstance(err.cause, Exception) else err from None


def _start_error(request: dict[str, float], waited: float) -> ClusterError:
    """Return the error for a device actor that was not ready in time and has been killed.

    If it held its place, that is free again: there was room, and the actor was slow.
    """
    end = time.monotonic() + _FREED_S
    while time.monotonic() < end:
        free = ray.available_resources()
        if all(free.get(key, 0) >= amount for key, amount in request.items()):
            return ClusterError(
                f"the device actor had its place, but did not start within {waited:g} s: its node is slow or busy "
                "(it imports torch); look at the node, or raise ray.start_timeout_s"
            )
        time.sleep(_POLL_S)
    return resource_error("the device actor", request, waited)


def device_request(config: RayConfig, cluster: dict[str, float], count: int = 1) -> dict[str, float]:
    """Return the custom resources that `count` device actors request: none where the cluster offers none."""
    return {config.device_resource: count} if count and cluster.get(config.device_resource, 0) > 0 else {}


def server_request(config: SplitConfig, cluster: dict[str, float]) -> dict[str, float]:
    """Return what the worker requests: a CPU, and the server resource and a GPU where the cluster has them."""
    request = {"CPU": 1.0}
    if cluster.get(config.ray.server_resource, 0) > 0:
        request[config.ray.server_resource] = 1.0
    if cluster.get("GPU", 0) > 0 and config.train.device.startswith(("auto", "cuda")):
        request["GPU"] = 1.0
    return request


def wait_for_resources(config: SplitConfig) -> dict[str, float]:
    """Wait until the cluster has room for the worker and all device actors; return what the worker requests.

    Raises ClusterError, which lists what is requested and what is available: at once when the cluster can never hold
    them, else after `start_timeout_s`.
    """
    end = time.monotonic() + config.ray.start_timeout_s
    while True:
        total = ray.cluster_resources()
        worker = server_request(config, total)
        if config.devices.kind == "virtual":
            request = worker | {"CPU": worker["CPU"] + config.devices.workers}
        else:
            request = worker | device_request(config.ray, total, config.devices.on_cluster)
        free = ray.available_resources()
        if all(free.get(key, 0) >= amount for key, amount in request.items()):
            return worker
        never = any(total.get(key, 0) < amount for key, amount in request.items())
        if never or time.monotonic() > end:
            raise resource_error("the run", request, 0.0 if never else config.ray.start_timeout_s)
        time.sleep(_POLL_S)


def resource_error(who: str, request: dict[str, float], waited: float) -> ClusterError:
    """Return the error for a request that the cluster cannot meet."""
    total, free = ray.cluster_resources(), ray.available_resources()
    keys = sorted({"CPU", *request})
    there = ", ".join(f"{free.get(key, 0):g} of {total.get(key, 0):g} {key} free" for key in keys)
    wants = ", ".join(f"{amount:g} {key}" for key, amount in request.items()) or "a running node"
    return ClusterError(
        f"not enough resources for {who} (waited {waited:g} s): it requests {wants}; the cluster has {there}. "
        "Stop another job, add a node, or raise ray.start_timeout_s"
    )
