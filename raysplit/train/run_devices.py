"""All devices of a run on Ray: actors on its cluster, virtual ones, stand-ins for those that joined at a gateway."""

from __future__ import annotations

from collections.abc import Sequence

from raysplit.config import SplitConfig
from raysplit.train.device import Device
from raysplit.train.gateway_devices import GatewayRun
from raysplit.train.joined_device import JoinedDevice
from raysplit.train.ray_device import RayDevice, start_ray_devices
from raysplit.train.start import without_start
from raysplit.train.virtual_ray import RayVirtualDevices


class RunDevices:
    """Starts the devices of a run, in their order, and others in place of those that are lost."""

    def __init__(self, config: SplitConfig, run: str):
        """Raises ClusterError where `devices.from` is gateway and the cluster serves none."""
        self._config = config
        self._gateway = GatewayRun(config, run) if config.devices.source == "gateway" else None
        self._started: list[Device] = []
        self._virtual: RayVirtualDevices | None = None

    def start(self, *, resumed: bool) -> Sequence[Device]:
        """Start all of them, side by side, and wait until each has built its half.

        Raises what building one raises, and leaves no actor behind then; ClusterError for a device that does not start
        or join in time.
        """
        config = without_start(self._config) if resumed else self._config
        if config.devices.kind == "virtual":
            self._virtual = RayVirtualDevices(config)
            return self._virtual
        if self._gateway is not None:
            self._gateway.claim()
        self._started += start_ray_devices(config)
        joined = [self._join(config, index) for index in range(len(self._started), config.devices.count)]
        for device in joined:
            device.ready()
        return list(self._started)

    def replace(self, index: int) -> Device:
        """Begin to start another device in place of one that is lost."""
        config = without_start(self._config)
        if index >= config.devices.on_cluster:
            return self._join(config, index)
        self._started.append(device := RayDevice(config, index))
        return device

    def close(self) -> None:
        """End the actors."""
        # A traceback that holds their handles would keep them alive, and their resources taken.
        for device in self._started:
            device.close()
        if self._virtual is not None:
            self._virtual.close()

    def release(self, reason: str) -> None:
        """Let the devices outside go, with the reason: the run is over."""
        if self._gateway is not None:
            self._gateway.release(reason)

    def _join(self, config: SplitConfig, index: int) -> JoinedDevice:
        assert self._gateway is not None
        self._started.append(device := self._gateway.start(config, index))
        return device
