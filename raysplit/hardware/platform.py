"""A device, a server and the link between them."""

from __future__ import annotations

from dataclasses import dataclass

from raysplit.hardware.link import Link
from raysplit.hardware.machine import Machine


@dataclass(frozen=True)
class Platform:
    """The hardware that a split network runs on.

    >>> from raysplit.hardware.link import get_link
    >>> from raysplit.hardware.machine import get_machine
    >>> Platform(get_link("wifi"), get_machine("pi4"), get_machine("server")).device.gflops_per_s
    12.0
    """

    link: Link
    device: Machine
    server: Machine
