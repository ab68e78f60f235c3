"""The link between device and server as numbers, and a virtual clock that predicts seconds over it.

Deterministic, and without Ray or torch. The clock models four resources that each do one job at a time: the device,
the uplink, the server and the downlink. A message waits for exactly what it waits for in the training loop.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from raysplit.utils.frozen import Frozen
from raysplit.utils.settings import read_named_or_file


class Link(Frozen):
    """A link's rates, delay and cost per message. Both directions may be busy at once (full duplex)."""

    name: str
    up_bit_s: Annotated[float, Field(gt=0)]
    """Bits per second from device to server, after packet headers (what an application can move)."""
    down_bit_s: Annotated[float, Field(gt=0)]
    """Bits per second from server to device, after packet headers."""
    round_trip_s: Annotated[float, Field(ge=0)]
    """Seconds from sending an empty message to receiving its empty answer; half of it each way."""
    message_bytes: Annotated[float, Field(ge=0)]
    """Bytes that the transport adds to each message (framing, call metadata), not counting packet headers."""

    def up_s(self, size: float) -> float:
        """Return the seconds that a message of `size` bytes keeps the uplink busy."""
        return 8 * (size + self.message_bytes) / self.up_bit_s

    def down_s(self, size: float) -> float:
        """Return the seconds that a message of `size` bytes keeps the downlink busy."""
        return 8 * (size + self.message_bytes) / self.down_bit_s

    def call_s(self, up_bytes: float) -> float:
        """Return the seconds on the link of one blocking call: an empty request down, an answer of `up_bytes` up."""
        return self.round_trip_s + self.down_s(0) + self.up_s(up_bytes)


_RAY_CALL = 1_000.0
"""Bytes that Ray 2.60 adds to an actor call of 10 kB, packet headers not counted, measured between two nodes."""

NAMED: dict[str, Link] = {
    name: Link(name=name, up_bit_s=up_bit_s, down_bit_s=down_bit_s, round_trip_s=round_trip_s, message_bytes=_RAY_CALL)
    for name, up_bit_s, down_bit_s, round_trip_s in (
        # IEEE 802.11n/ac at home; all three numbers are assumed: a fraction of the 150 to 433 Mbit/s PHY rate of one
        # antenna.
        ("wifi", 50e6, 50e6, 0.005),
        # 3GPP LTE category 4 peaks at 50 up and 150 down; a fifth of that, and the delay, are assumed.
        ("lte", 10e6, 30e6, 0.05),
        # IEEE 802.3ab, 1 Gbit/s; 1,448 of the 1,538 bytes that a full packet takes are payload. The delay is assumed.
        ("ethernet", 941e6, 941e6, 0.0003),
        # 3GPP LTE-M (category M1, release 13), full duplex: peak 1 Mbit/s each way. The delay is assumed.
        ("iot", 1e6, 1e6, 0.1),
    )
}


def get_link(text: str) -> Link:
    """Return a link by name, or from a YAML file with the fields of `Link`.

    Raises ConfigError, with the nearest name, for anything else, and for a file that does not describe a link.

    >>> get_link("lte").up_s(1_249_000)
    1.0
    """
    return read_named_or_file(Link, NAMED, text, "link")


_FIRST = 3
"""One-way delays before the first forward pass: the call that opens the epoch, its answer, the first request."""


@dataclass(frozen=True)
class MicroBatchCost:
    """The work of one micro-batch: bytes that cross (0: no message in that direction) and seconds of compute."""

    up_bytes: float
    down_bytes: float
    forward_s: float
    """Device, from images to message."""
    backward_s: float
    """Device, from gradient to weights."""
    server_s: float
    features_bytes: float = 0.0
    """Down at a second cut, after which the device goes on; 0: there is none."""
    back_bytes: float = 0.0
    """Up there: the gradient."""
    tail_s: float = 0.0
    """Device, from features to their gradient."""


def train_seconds(link: Link, steps: int, in_flight: int, micro: MicroBatchCost) -> float:
    """Return the seconds of one pass of `steps` optimizer steps, `in_flight` micro-batches each.

    Events happen in the order of the training loop (`raysplit.train.epoch`). Where nothing crosses, both sides'
    compute is simply added up.

    >>> cost = MicroBatchCost(99_000, 49_000, forward_s=0.01, backward_s=0.02, server_s=0.05)
    >>> round(train_seconds(get_link("wifi"), steps=100, in_flight=1, micro=cost), 2)
    10.91
    """
    if not micro.up_bytes and not micro.down_bytes:
        return steps * in_flight * (micro.forward_s + micro.backward_s + micro.server_s)
    if micro.features_bytes:
        return _through_two_cuts(link, steps, in_flight, micro)
    if not micro.down_bytes:
        return _one_way(link, steps * in_flight, micro)
    return _both_ways(link, steps, in_flight, micro)


def _both_ways(link: Link, steps: int, in_flight: int, micro: MicroBatchCost) -> float:
    """A step's forward passes are requested together; the gradient that ends a step requests the next step's.

    The device serves requests in order: all forward passes of a step come before its first backward pass.
    """
    delay = link.round_trip_s / 2
    device = uplink = server = downlink = 0.0  # when each is free again
    requested = _FIRST * delay
    for _ in range(steps):
        arrived = []
        for _ in range(in_flight):
            device = max(device, requested) + micro.forward_s
            uplink = max(uplink, device) + link.up_s(micro.up_bytes)
            arrived.append(uplink + delay)
        for arrival in arrived:
            server = max(server, arrival) + micro.server_s
            downlink = max(downlink, server) + link.down_s(micro.down_bytes)
            requested = downlink + delay
            device = max(device, requested) + micro.backward_s
    return device + delay  # the loop waits for the last gradient to be acknowledged


def _through_two_cuts(link: Link, steps: int, in_flight: int, micro: MicroBatchCost) -> float:
    """All micro-batches of a step go forward through both cuts before the first one comes back through the first.

    The server's work on one is taken to be a third for the forward pass, two thirds for the backward pass.
    """
    delay = link.round_trip_s / 2
    device = uplink = server = downlink = 0.0
    requested = _FIRST * delay
    for _ in range(steps):
        codes, gradients = [], []
        for _ in range(in_flight):
            device = max(device, requested) + micro.forward_s
            uplink = max(uplink, device) + link.up_s(micro.up_bytes)
            codes.append(uplink + delay)
        for arrival in codes:
            server = max(server, arrival) + micro.server_s / 3
            downlink = max(downlink, server) + link.down_s(micro.features_bytes)
            device = max(device, downlink + delay) + micro.tail_s
            uplink = max(uplink, device) + link.up_s(micro.back_bytes)
            gradients.append(uplink + delay)
        for arrival in gradients:
            server = max(server, arrival) + micro.server_s * 2 / 3
            downlink = max(downlink, server) + link.down_s(micro.down_bytes)
            requested = downlink + delay
            device = max(device, requested) + micro.backward_s
    return device + delay


def _one_way(link: Link, count: int, micro: MicroBatchCost) -> float:
    """Two micro-batches are requested ahead; another one whenever the server has trained on one."""
    delay = link.round_trip_s / 2
    device = uplink = server = 0.0
    requested = deque([_FIRST * delay] * 2)
    for _ in range(count):
        device = max(device, requested.popleft()) + micro.forward_s + micro.backward_s
        uplink = max(uplink, device) + link.up_s(micro.up_bytes)
        server = max(server, uplink + delay) + micro.server_s
        requested.append(server + delay)
    return server


def evaluation_seconds(link: Link, batches: int, up_bytes: float, compute_s: float) -> float:
    """Return the seconds of an evaluation pass: `batches` calls, one at a time.

    `up_bytes` is the size of one call's answer (0: nothing crosses), `compute_s` the work of both sides for it.
    """
    crossing = link.call_s(up_bytes) if up_bytes else 0.0
    return batches * (crossing + compute_s)
