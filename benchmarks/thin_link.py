"""Split training over a real thin link: two Ray nodes in two network namespaces, joined at a limited rate.

    python benchmarks/thin_link.py [--rate 20mbit] [--epochs 4] [--data mnist5k]

Needs Linux, root and iproute2 (`ip netns`, `tc tbf`); says so and ends with success where they are missing. The
device half, and the images, are on one node; SplitTrainer's worker on the other. For each level and number of
micro-batches in flight, medians over the training passes after the first:

    payload_mb  bytes of activations, gradients and labels            frame_mb  the same with our headers
    nic_mb      what the interface counted, both ways, packet headers and acknowledgements included
    seconds     of one training pass
    bound_seconds      the larger of compute (the same run in one process, no link) and frame bytes / rate, with
                       the bytes of both directions over one rate, as in lock-step, where they take turns
    predicted_seconds  raysplit.hardware.link's virtual clock with this rate and the compute of the run's record

Ray's nodes also talk when nothing runs: `idle_bytes_s` in the result. Most of that would be the statistics that each
node sends for the dashboard; the dashboard is off here, and so they are sent once an hour. At the end one epoch's
packets are searched for raw training images, and for some that were sent on purpose.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from links.netns import PACKET, PAYLOAD, Side, missing, parse_rate, ray_nodes, thin_link
from meta import meta, save

from raysplit import recipes
from raysplit.config import SplitConfig
from raysplit.hardware.link import Link
from raysplit.records.epoch import EpochRecord
from raysplit.train.predict import predict_training_s
from raysplit.train.ray_device import ENVIRONMENT

LEVELS = ("all.b32/b32", "all.b4/b4.zstd", "c8.b4/b4.zstd")
IN_FLIGHT = (1, 2)
_CALL_BYTES = 600.0
"""Bytes that Ray adds to a call beside packet headers: an empty one takes 230 up and 690 down."""
_LIMIT_S = 1800


def recipe(data: str, epochs: int, rows: int) -> SplitConfig:
    """Return the demo's reference on fewer images, fewest of them for validation."""
    base = recipes.get("mnist5k_vgg11_uncompressed")
    return base.replaced(
        name="thin_link",
        data=base.data.replaced(name=data, train_rows=rows, val_fraction=0.02),
        train=base.train.replaced(epochs=epochs),
    )


def bound_seconds(compute: float, sent: float, rate: float) -> float:
    """Return the seconds that neither compute nor the link allows to undercut: `sent` bytes at `rate` bit/s."""
    return max(compute, 8 * sent / rate)


def warm_epochs(run: dict[str, Any]) -> list[EpochRecord]:
    """Return a run's epochs without the first, which warms up."""
    return [EpochRecord.from_row(row) for row in run["rows"][1:]]


def summary(run: dict[str, Any], rate: float) -> dict[str, Any]:
    """Return a line of the result from what the driver measured."""
    # Rates are of payload for the link model: tbf and the interface count packets.
    payload_rate = rate * PAYLOAD / PACKET
    link = Link(
        name="thin", up_bit_s=payload_rate, down_bit_s=payload_rate, round_trip_s=0.0, message_bytes=_CALL_BYTES
    )
    epochs, k = warm_epochs(run), run["in_flight"]
    frames = median(record.traffic for record in epochs)
    headers = median(record.bytes.up_headers + record.bytes.down_headers for record in epochs)
    return {
        "level": run["level"],
        "in_flight": k,
        "payload_mb": (frames - headers) / 1e6,
        "frame_mb": frames / 1e6,
        "nic_mb": median(run["nic_bytes"][1:]) / 1e6,
        "seconds": median(record.train_s for record in epochs),
        "bound_seconds": bound_seconds(run["local_s"], frames, rate),
        "predicted_seconds": median(predict_training_s(record, k, link) for record in epochs),
    }


def details(run: dict[str, Any], rate: float) -> dict[str, Any]:
    """Return what explains a line: compute, bytes each way, the mean message and the time where the link is duplex."""
    epochs = warm_epochs(run)
    up, down = median(record.bytes_up for record in epochs), median(record.bytes_down for record in epochs)
    share = [record.train_compute_s / (record.device_s + record.server_s) for record in epochs]
    return {
        "local_s": run["local_s"],
        "device_s": median(s * record.device_s for s, record in zip(share, epochs, strict=True)),
        "server_s": median(s * record.server_s for s, record in zip(share, epochs, strict=True)),
        "up_mb": up / 1e6,
        "down_mb": down / 1e6,
        "message_kb": (up + down) / (2 * epochs[0].steps * run["in_flight"]) / 1e3,
        "duplex_bound_seconds": bound_seconds(run["local_s"], max(up, down), rate),
        "threads": [epochs[0].threads_device, epochs[0].threads_server],
        "all_seconds": [record.train_s for record in epochs],
    }


def drive(head: Side, device: Side, config: SplitConfig, folder: Path) -> dict[str, Any]:
    """Run the driver on the head node and return what it measured."""
    out = folder / "measured.json"
    job = {
        "config": config.model_dump_json(),
        "folder": str(folder),
        "out": str(out),
        "interface": head.interface,
        "device_address": device.address,
        "levels": LEVELS,
        "in_flight": IN_FLIGHT,
    }
    os.environ["REPORTER_UPDATE_INTERVAL_MS"] = "3600000"
    with ray_nodes(head, device, len(os.sched_getaffinity(0))) as environment:
        driver = str(Path(__file__).parent / "links" / "thin_link_driver.py")
        # The run in the driver computes in the environment that worker and actor have.
        environment |= ENVIRONMENT
        words = head.command(sys.executable, driver, json.dumps(job))
        done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, timeout=_LIMIT_S, check=False)
    if done.returncode:
        raise SystemExit("the driver on the head node failed, see above")
    measured: dict[str, Any] = json.loads(out.read_text())
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", default="20mbit", help="of the link, each way, as tc writes it; default 20mbit")
    parser.add_argument("--epochs", type=int, default=4, help="the first of which warms up; default 4")
    parser.add_argument("--data", default="mnist5k", help="any data set; default mnist5k")
    parser.add_argument("--rows", type=int, default=1000, help="training images; default 1000")
    args = parser.parse_args()
    try:
        rate = parse_rate(args.rate)
    except ValueError as err:
        parser.error(str(err))
    if args.epochs < 2:
        parser.error("--epochs must be 2 or more: the first pass warms up")
    if reason := missing():
        print(f"skipped: {reason}")
        return
    # Being ended is an end like any other: namespaces and nodes go first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    config = recipe(args.data, args.epochs, args.rows)
    with tempfile.TemporaryDirectory(prefix="thin_link_") as folder, thin_link(rate) as (head, device):
        measured = drive(head, device, config, Path(folder))
    rows = [summary(run, rate) for run in measured["runs"]]
    print(f"{'level':20}{'in flight':>10}{'payload MB':>12}{'frame MB':>10}{'NIC MB':>9}", end="")
    print(f"{'seconds':>9}{'bound':>8}{'predicted':>11}")
    for row in rows:
        print(f"{row['level']:20}{row['in_flight']:10}{row['payload_mb']:12.3f}{row['frame_mb']:10.3f}", end="")
        print(f"{row['nic_mb']:9.3f}{row['seconds']:9.2f}{row['bound_seconds']:8.2f}{row['predicted_seconds']:11.2f}")
    privacy = measured["privacy"]
    print(
        f"\n{privacy['found_in_training']} of {privacy['images']} images in {privacy['captured_bytes'] / 1e6:.1f} MB "
        f"of a training run's packets; of {privacy['planted']} sent on purpose {privacy['found_when_planted']} found"
    )
    print(f"Ray's nodes exchange {measured['idle_bytes_s']:.0f} bytes a second when nothing runs")
    result = {"rows": rows}
    save(
        "thin_link",
        {
            "meta": meta([config.train.seed]),
            "rate_bit_s": rate,
            "result": result,
            "details": [details(run, rate) for run in measured["runs"]],
            "privacy": privacy,
            "idle_bytes_s": measured["idle_bytes_s"],
        },
    )
    if privacy["found_in_training"] or privacy["found_when_planted"] < privacy["planted"]:
        raise SystemExit("the packets held raw images, or the search missed those that were sent on purpose")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
