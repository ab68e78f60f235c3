"""What a run does when one of its devices dies or is late: a round counts on both sides of the cut, or on none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from raysplit.config import SplitConfig
from raysplit.errors import ClusterError, DeviceLostError
from raysplit.train.device import Device
from raysplit.train.fleet import Fleet, Member
from raysplit.train.server_side import ServerSide

_log = logging.getLogger(__name__)
Replace = Callable[[int], Device]
"""Begins to start another device in place of the one of a number; `Device.is_ready` tells when it is there."""


class Recovery:
    """Brings a run back to the start of the round in which a device was lost.

    With `devices.missing=wait` the device is replaced and the round trained again, to the weights of a run that lost
    none; with `skip` it is trained again without the device, which takes part again as soon as it is there; with
    `fail` the error is the run's.

    Args:
        replace: starts a device anew; None: devices cannot be replaced, and nothing is kept to go back to.
    """

    def __init__(self, config: SplitConfig, fleet: Fleet, servers: Sequence[ServerSide], replace: Replace | None):
        self._config, self._fleet, self._servers, self._replace = config, fleet, servers, replace
        self._missing = config.devices.missing
        self._lost = 0
        self._before: tuple[list[dict[str, Any]], dict[str, Any]] | None = None
        self._states: list[bytes] = []

    def begin(self) -> None:
        """Remember where a round begins, and take back the devices that are there again."""
        self._lost = 0
        if self._replace is None or self._missing == "fail":
            return
        self.take_back()
        # Those that are away keep the state that they were last known to have.
        self._states = self._fleet.states()
        self._before = [deepcopy(server.state()) for server in self._servers], self._fleet.state()
        self._require_enough()

    def take_back(self) -> None:
        """Give the devices that are there again what they had."""
        for member in self._fleet.members:
            if member.away and member.device.is_ready():
                self._take_back(member)

    def end(self) -> None:
        """Fetch the states for the checkpoint of a round that is over, while it can still be trained again."""
        if self._before is not None:
            self._fleet.states()

    def recover(self, lost: DeviceLostError) -> None:
        """Go back to where the round began, without a lost device or with another in its place.

        Raises the error itself where the run shall not, or can no longer, go on.
        """
        self._lost += 1
        if self._before is None or self._replace is None:
            raise lost
        member = self._fleet.members[lost.device]
        servers, fleet = self._before
        if self._missing == "wait":
            if self._lost > self._config.ray.max_failures:
                raise lost
            _log.warning(f"{lost}; it is replaced, and the epoch is trained again")
            self._renew(member)
            self._fleet.bring(member, self._states[member.index], fleet["held"][member.index])
        else:
            _log.warning(f"{lost}; the epoch is trained without it")
            member.away = True
            if not lost.late:
                self._renew(member)
        for server, state in zip(self._servers, servers, strict=True):
            server.restore(deepcopy(state))
        self._fleet.go_back(self._states, fleet)
        self._require_enough()

    def _renew(self, member: Member) -> None:
        assert self._replace is not None
        member.device.close()
        member.device = self._replace(member.index)

    def _take_back(self, member: Member) -> None:
        try:
            self._fleet.bring(member, member.packed, member.held)
        except DeviceLostError as err:
            if not err.late:
                self._renew(member)
            return
        member.away = False
        _log.warning(f"device {member.index} is there again")

    def _require_enough(self) -> None:
        there = sum(not member.away for member in self._fleet.members)
        if there < self._config.devices.minimum:
            raise ClusterError(
                f"{there} of {len(self._fleet.members)} devices are left, and devices.minimum="
                f"{self._config.devices.minimum}; look at their nodes, and continue the run with --resume"
            )
