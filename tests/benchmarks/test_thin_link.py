"""The parts of the thin-link benchmark that need no network."""

from __future__ import annotations

import struct

import numpy as np
import pytest


def test_rate():
    from links.netns import parse_rate

    assert [parse_rate(text) for text in ("20mbit", "500kbit", "1.5gbit", "9bit")] == [20e6, 500e3, 1.5e9, 9]
    for text in ("20", "0mbit", "20mbps", "-1mbit", "fast"):
        with pytest.raises(ValueError, match="is not a rate; write it like 20mbit"):
            parse_rate(text)


def test_bound():
    from thin_link import bound_seconds

    assert bound_seconds(3.0, 5_000_000, 20e6) == 3
    assert bound_seconds(1.0, 5_000_000, 20e6) == 2


def test_tcp_payload():
    from links.capture import tcp_payload

    addresses, ports = bytes(range(8)), struct.pack("!HH", 1, 2)
    tcp = ports + bytes(8) + b"\x80" + bytes(7) + bytes(12)  # 20 bytes and 12 of options
    ip = b"\x45\x00" + struct.pack("!H", 20 + 32 + 5) + bytes(5) + b"\x06" + bytes(2) + addresses
    frame = bytes(12) + b"\x08\x00" + ip + tcp + b"hello" + b"padding"
    assert tcp_payload(frame) == (addresses + ports, b"hello")
    assert tcp_payload(bytes(12) + b"\x08\x06" + ip + tcp) == (b"", b"")
    assert tcp_payload(b"short") == (b"", b"")


def test_slices_leave_out_images_that_look_like_others():
    from links.capture import slices

    images = np.zeros((3, 1, 28, 28), np.uint8)
    images[1] = np.arange(28)
    images[2, :, 0] = np.arange(28)
    assert slices(images) == [bytes(range(28)) * 4]


def test_a_line_of_the_result_leaves_out_the_first_pass():
    from thin_link import details, summary

    from raysplit.records.epoch import ByteCounts, EpochRecord

    sent = ByteCounts(up_activations=900_000, up_labels=50_000, up_headers=50_000, down_gradients=1_000_000)
    epochs = [
        EpochRecord(
            epoch=epoch,
            level="all·b32/b32",
            steps=10,
            bytes=sent,
            train_s=seconds,
            train_compute_s=1.0,
            device_s=1.5,
            server_s=0.5,
        )
        for epoch, seconds in enumerate((9.0, 2.0, 2.0))
    ]
    run = {
        "level": "all·b32/b32",
        "in_flight": 1,
        "rows": [epoch.to_row() for epoch in epochs],
        "nic_bytes": [0, 2_100_000, 2_100_000],
        "local_s": 0.5,
    }
    line = summary(run, rate=20e6)
    predicted = line.pop("predicted_seconds")
    assert line == {
        "level": "all·b32/b32",
        "in_flight": 1,
        "payload_mb": 1.95,
        "frame_mb": 2.0,
        "nic_mb": 2.1,
        "seconds": 2.0,
        "bound_seconds": 0.8,
    }
    assert predicted > 1.0 + 8 * 2e6 / 20e6, "lock-step: compute and link take turns"
    more = details(run, rate=20e6)
    assert (more["device_s"], more["server_s"], more["up_mb"], more["down_mb"]) == (0.75, 0.25, 1.0, 1.0)
    assert more["all_seconds"] == [2.0, 2.0] and more["duplex_bound_seconds"] == 0.5
