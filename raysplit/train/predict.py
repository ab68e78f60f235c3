"""What an epoch of the record would have taken on another link."""

from __future__ import annotations

from typing import Any

from raysplit.link import NAMED, Link, Micro, check_seconds, train_seconds
from raysplit.train.traffic import DOWN, UP

_FORWARD = 1 / 3
"""Share of a forward pass in the device's work on a step: the backward pass has two products for its one."""


def predict(row: dict[str, Any], in_flight: int, link: Link) -> float:
    """Return the seconds that a row's epoch, with its validation, takes on a link with the compute of the row.

    The row gives `mode`, bytes, `steps`, `val_batches`, `device_s`, `server_s` and `train_compute_s`; every step is
    taken for an average one, and both sides for spending the same share of their seconds on validation.
    """
    checks, computed = row["val_batches"], row["device_s"] + row["server_s"]
    check_s = (computed - row["train_compute_s"]) / checks
    checked = check_seconds(link, checks, row["evaluation"] / checks, check_s) + _calls(row, checks, link)
    return predict_training(row, in_flight, link) + checked


def predict_training(row: dict[str, Any], in_flight: int, link: Link) -> float:
    """Return the seconds of a row's epoch without its validation, compared with `train_s`."""
    parts = row["steps"] * in_flight
    share = row["train_compute_s"] / (row["device_s"] + row["server_s"])
    device, server = share * row["device_s"] / parts, share * row["server_s"] / parts
    weights = row["up_weights"]
    # Weights are handed over once; an epoch may send nothing else.
    sent = sum(row[kind] for kind in UP) - weights if row["up_activations"] else 0
    once = check_seconds(link, 1, weights, 0.0)
    micro = Micro(
        up_bytes=sent / parts,
        down_bytes=sum(row[kind] for kind in DOWN) / parts,
        forward_s=_FORWARD * device,
        backward_s=(1 - _FORWARD) * device,
        server_s=server,
    )
    return once + train_seconds(link, row["steps"], in_flight, micro) + _calls(row, row["steps"], link)


def _calls(row: dict[str, Any], count: int, link: Link) -> float:
    """Return the seconds of `count` calls that bring no message: in `alone` epochs each step and check waits for one.

    Without the call that opens the epoch.
    """
    return count * link.call_s(0) if row["mode"] == "alone" else 0.0


def predictions(row: dict[str, Any], in_flight: int) -> dict[str, float]:
    """Return the columns `predicted_NAME_s` of a row, one for each named link."""
    return {f"predicted_{name}_s": predict(row, in_flight, link) for name, link in NAMED.items()}


def predicted_sums(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the predicted seconds of all epochs by the link's name."""
    return {name: sum(row[f"predicted_{name}_s"] for row in rows) for name in NAMED}
