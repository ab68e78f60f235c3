"""The parts of the thin-link benchmark that need no network."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Benchmarks are scripts that import their neighbours."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield
    for name in ("meta", "netns", "capture", "thin_link"):
        sys.modules.pop(name, None)


def test_rate():
    from netns import parse_rate

    assert [parse_rate(text) for text in ("20mbit", "500kbit", "1.5gbit", "9bit")] == [20e6, 500e3, 1.5e9, 9]
    for text in ("20", "0mbit", "20mbps", "-1mbit", "fast"):
        with pytest.raises(ValueError, match="is not a rate; write it like 20mbit"):
            parse_rate(text)


def test_bound():
    from thin_link import bound_seconds

    assert bound_seconds(3.0, 5_000_000, 20e6) == 3
    assert bound_seconds(1.0, 5_000_000, 20e6) == 2


def test_tcp_payload():
    from capture import tcp_payload

    addresses, ports = bytes(range(8)), struct.pack("!HH", 1, 2)
    tcp = ports + bytes(8) + b"\x80" + bytes(7) + bytes(12)  # 20 bytes and 12 of options
    ip = b"\x45\x00" + struct.pack("!H", 20 + 32 + 5) + bytes(5) + b"\x06" + bytes(2) + addresses
    frame = bytes(12) + b"\x08\x00" + ip + tcp + b"hello" + b"padding"
    assert tcp_payload(frame) == (addresses + ports, b"hello")
    assert tcp_payload(bytes(12) + b"\x08\x06" + ip + tcp) == (b"", b"")
    assert tcp_payload(b"short") == (b"", b"")


def test_slices_leave_out_images_that_look_like_others():
    from capture import slices

    images = np.zeros((3, 1, 28, 28), np.uint8)
    images[1] = np.arange(28)
    images[2, :, 0] = np.arange(28)
    assert slices(images) == [bytes(range(28)) * 4]
