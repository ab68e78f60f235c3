"""The workers of virtual devices as Ray actors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray

from raysplit.config import SplitConfig
from raysplit.schedules.base import Decision
from raysplit.torch_utils.checkpoint import pack_state, unpack_state
from raysplit.train.device import Device, DeviceFacts, Finished, LocalScore, Split, Uplink
from raysplit.train.ray_device import ENVIRONMENT, RayCall
from raysplit.train.threads import use_threads
from raysplit.train.virtual_devices import VirtualDevices, describe_all, join_snapshots, make_worker


class WorkerActor:
    """A worker as an actor: the calls of its devices, with their numbers."""

    def setup(self, config: SplitConfig) -> None:
        """Load the data and build the network."""
        use_threads(config)
        self._worker = make_worker(config)
        self._version, self._common = -1, b""

    def agree(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self._worker.normalization = (self._worker.normalization[0], mean, std)

    def begin_epoch(self, epoch: int, decision: Decision, own: Mapping[int, Decision]) -> None:
        self._worker.begin_epoch(epoch, decision, own)

    def adopt(self, device: int, version: int, weights: bytes) -> None:
        """Let a device hold a version of the common weights; all that hold it share one copy."""
        if version != self._version:
            self._version, self._common = version, weights
        self._worker.adopt(device, self._common)

    def forward(self, device: int) -> Uplink:
        return self._worker.side(device).forward()

    def backward(self, device: int, gradient: bytes) -> None:
        self._worker.side(device).backward(gradient)

    def exchange(self, device: int, gradient: bytes) -> Uplink:
        return self._worker.side(device).exchange(gradient)

    def train_alone(self, device: int) -> LocalScore:
        return self._worker.side(device).train_alone()

    def hand_over(self, device: int) -> bytes:
        return self._worker.side(device).hand_over()

    def weights(self, device: int) -> bytes:
        return self._worker.weights(device)

    def evaluate(self, device: int, split: Split, index: int) -> Uplink:
        return self._worker.side(device).evaluate(split, index)

    def evaluate_alone(self, device: int, split: Split, index: int) -> LocalScore:
        return self._worker.side(device).evaluate_alone(split, index)

    def state(self, device: int) -> bytes:
        return self._worker.side(device).state()

    def restore_one(self, device: int, state: bytes) -> None:
        self._worker.side(device).restore(state)

    def snapshot(self) -> bytes:
        return pack_state(self._worker.snapshot())

    def restore(self, snapshot: bytes, holders: Sequence[int], common: bytes) -> None:
        self._worker.restore(unpack_state(snapshot), holders, common)


class _Common:
    """The newest common weights in Ray's object store: each node fetches them once, and not for every device."""

    def __init__(self) -> None:
        self._weights = b""
        self._version = 0
        self._reference: Any = None

    def put(self, weights: bytes) -> tuple[int, Any]:
        """Return number and reference of some weights."""
        if weights is not self._weights:
            self._weights, self._version, self._reference = weights, self._version + 1, ray.put(weights)
        return self._version, self._reference


class RayVirtualDevice:
    """A device that a worker on the cluster takes the place of when it is called."""

    __slots__ = ("_actor", "_common", "_facts", "_index", "_timeout")

    def __init__(self, actor: Any, index: int, facts: DeviceFacts, common: _Common, timeout: float):
        self._actor, self._index, self._facts, self._common, self._timeout = actor, index, facts, common, timeout

    def describe(self) -> Finished[DeviceFacts]:
        return Finished(self._facts)

    def begin_epoch(self, epoch: int, decision: Decision) -> RayCall[None]:
        return self._call(self._actor.begin_epoch.remote(epoch, decision, {self._index: decision}))

    def forward(self) -> RayCall[Uplink]:
        return self._call(self._actor.forward.remote(self._index))

    def backward(self, gradient: bytes) -> RayCall[None]:
        return self._call(self._actor.backward.remote(self._index, gradient))

    def exchange(self, gradient: bytes) -> RayCall[Uplink]:
        return self._call(self._actor.exchange.remote(self._index, gradient))

    def train_alone(self) -> RayCall[LocalScore]:
        return self._call(self._actor.train_alone.remote(self._index))

    def hand_over(self) -> RayCall[bytes]:
        return self._call(self._actor.hand_over.remote(self._index))

    def agree(self, mean: tuple[float, ...], std: tuple[float, ...]) -> RayCall[None]:
        return self._call(self._actor.agree.remote(mean, std))

    def weights(self) -> RayCall[bytes]:
        return self._call(self._actor.weights.remote(self._index))

    def adopt(self, weights: bytes) -> RayCall[None]:
        return self._call(self._actor.adopt.remote(self._index, *self._common.put(weights)))

    def evaluate(self, split: Split, index: int) -> RayCall[Uplink]:
        return self._call(self._actor.evaluate.remote(self._index, split, index))

    def evaluate_alone(self, split: Split, index: int) -> RayCall[LocalScore]:
        return self._call(self._actor.evaluate_alone.remote(self._index, split, index))

    def state(self) -> RayCall[bytes]:
        return self._call(self._actor.state.remote(self._index))

    def restore(self, state: bytes) -> RayCall[None]:
        return self._call(self._actor.restore_one.remote(self._index, state))

    def is_ready(self) -> bool:
        return True

    def close(self) -> None:
        """Its worker is released with all of them."""

    def _call(self, reference: Any) -> RayCall[Any]:
        return RayCall(reference, self._index, self._timeout)


class RayVirtualDevices(VirtualDevices):
    """All virtual devices of a run, whose workers are actors; each takes a CPU."""

    def __init__(self, config: SplitConfig):
        self.worker_count = config.devices.workers
        facts = describe_all(config, make_worker(config))
        remote: Any = ray.remote(WorkerActor).options(num_cpus=1, runtime_env={"env_vars": ENVIRONMENT}, max_restarts=0)
        self._actors = [remote.remote() for _ in range(self.worker_count)]
        self._timeout = config.ray.call_timeout_s
        try:
            self._all([actor.setup.remote(config) for actor in self._actors])
        except BaseException:
            self.close()
            raise
        common, timeout = _Common(), self._timeout
        self._devices: list[Device] = [
            RayVirtualDevice(self._actors[index % self.worker_count], index, one, common, timeout)
            for index, one in enumerate(facts)
        ]

    def agree(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self._all([actor.agree.remote(mean, std) for actor in self._actors])

    def begin_epoch(self, epoch: int, decision: Decision, own: Mapping[int, Decision]) -> None:
        self._all(
            [
                actor.begin_epoch.remote(epoch, decision, {index: own[index] for index in self.of_worker(own, number)})
                for number, actor in enumerate(self._actors)
            ]
        )

    def snapshot(self) -> dict[str, Any]:
        packed = self._all([actor.snapshot.remote() for actor in self._actors])
        return join_snapshots([unpack_state(one) for one in packed])

    def restore(self, snapshot: dict[str, Any], holders: Sequence[int], common: bytes) -> None:
        calls = []
        for number, actor in enumerate(self._actors):
            own = {index: snapshot["own"][index] for index in self.of_worker(snapshot["own"], number)}
            packed = pack_state(snapshot | {"own": own})
            calls.append(actor.restore.remote(packed, self.of_worker(holders, number), common))
        self._all(calls)

    def close(self) -> None:
        """Release the workers."""
        for actor in self._actors:
            ray.kill(actor)

    def _all(self, references: Sequence[Any]) -> list[Any]:
        return [RayCall[Any](one, number, self._timeout).result() for number, one in enumerate(references)]
