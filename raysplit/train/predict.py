"""What an epoch of the record would have taken on another link."""

from __future__ import annotations

from collections.abc import Iterable

from raysplit.hardware.link import NAMED, Link, MicroBatchCost, evaluation_seconds, train_seconds
from raysplit.records.epoch import EpochRecord

_FORWARD = 1 / 3
"""Share of a forward pass in the device's work on a step: the backward pass has two products for its one. With a second
cut, the share of the tail too, which the record does not tell from the rest."""


def predict_epoch_s(record: EpochRecord, in_flight: int, link: Link) -> float:
    """Return the seconds that an epoch, with its validation, takes on a link with the compute of the record.

    All steps are taken to cost the same, and both sides to spend the same share of their time on validation.
    """
    checks, computed = record.val_batches, record.device_s + record.server_s
    if not checks:  # one of many devices may have no validation images
        return predict_training_s(record, in_flight, link)
    check_s = (computed - record.train_compute_s) / checks
    checked = evaluation_seconds(link, checks, record.bytes.evaluation / checks, check_s) + _calls(record, checks, link)
    if record.bytes.down_activations:  # a second call takes the features, whose bytes are counted with what goes up
        checked += checks * link.call_s(0)
    return predict_training_s(record, in_flight, link) + checked


def predict_training_s(record: EpochRecord, in_flight: int, link: Link) -> float:
    """Return the seconds of an epoch without its validation, compared with `train_s`."""
    parts, sent = record.steps * in_flight, record.bytes
    share = record.train_compute_s / (record.device_s + record.server_s)
    device, server = share * record.device_s / parts, share * record.server_s / parts
    # Weights cross once; an epoch may send nothing else.
    activations = sent.up - sent.up_weights if sent.up_activations else 0
    once = evaluation_seconds(link, 1, sent.up_weights, 0.0)
    once += link.down_s(sent.down_weights) + link.round_trip_s if sent.down_weights else 0.0
    down = sent.down - sent.down_weights if sent.down_gradients else 0
    tail_s = _FORWARD * device if sent.down_activations else 0.0
    micro = MicroBatchCost(
        up_bytes=(activations - sent.up_gradients) / parts,
        down_bytes=(down - sent.down_activations) / parts,
        forward_s=_FORWARD * device,
        backward_s=(1 - _FORWARD) * device - tail_s,
        server_s=server,
        features_bytes=sent.down_activations / parts,
        back_bytes=sent.up_gradients / parts,
        tail_s=tail_s,
    )
    return once + train_seconds(link, record.steps, in_flight, micro) + _calls(record, record.steps, link)


def _calls(record: EpochRecord, count: int, link: Link) -> float:
    """Return the seconds of `count` calls without a message: in `alone` epochs each step and each evaluation makes one.

    The call that opens the epoch is not counted.
    """
    return count * link.call_s(0) if record.mode == "alone" else 0.0


def predict_epoch_s_by_link(record: EpochRecord, in_flight: int) -> dict[str, float]:
    """Return the predicted seconds of an epoch by the name of each named link."""
    return {name: predict_epoch_s(record, in_flight, link) for name, link in NAMED.items()}


def sum_predicted_s(records: Iterable[EpochRecord]) -> dict[str, float]:
    """Return the predicted seconds of all epochs by the link's name, for links that every record knows."""
    records = list(records)
    return {
        name: sum(record.predicted_s[name] for record in records)
        for name in NAMED
        if all(name in record.predicted_s for record in records)
    }
