"""A run in one object: accuracy, bytes, seconds, and what they are measured against."""

from __future__ import annotations

from raysplit.config import UNCOMPRESSED
from raysplit.records.epoch import EpochRecord
from raysplit.records.summary import RunSummary
from raysplit.train.costs import step_bytes
from raysplit.train.loop import Loop
from raysplit.train.predict import sum_predicted_s


def summarize(loop: Loop, run_dir: str) -> RunSummary:
    """Return the summary of a loop that has come to its end."""
    config, records, facts, test = loop.config, loop.records, loop.facts, loop.test
    assert test is not None
    up, down = sum(record.bytes_up for record in records), sum(record.bytes_down for record in records)
    sent = max(up + down, 1)  # nothing crosses where all epochs are the device's own
    full = step_bytes(config, UNCOMPRESSED, loop.cut.shape, loop.cut.channel_dim, len(facts.classes), loop.back)
    reference = (full.up + full.down) * loop.steps * len(records)
    checked = sum(record.bytes.evaluation + record.evaluation_test for record in records)
    return RunSummary(
        recipe=config.name,
        accuracy=test.accuracy,
        test_from=facts.test_from,
        bytes_up=up,
        bytes_down=down,
        seconds=sum(record.seconds for record in records),
        run_dir=run_dir,
        val_accuracy=records[-1].val_accuracy,
        bytes_evaluation=checked + test.evaluation,
        bytes_checkpoint=loop.checkpoint_bytes,
        bytes_fp32=reference,
        bytes_raw_upload=facts.raw_bytes,
        times_less=reference / sent,
        times_less_than_upload=facts.raw_bytes / sent,
        device_s=sum(record.device_s for record in records),
        server_s=sum(record.server_s for record in records),
        link_s=sum(record.link_s for record in records),
        wait_s=sum(record.wait_s for record in records),
        predicted_s=sum_predicted_s(records),
        skipped_rows=facts.skipped_rows,
        classes=facts.classes,
        shape=facts.shape,
        mean=facts.mean,
        std=facts.std,
        normalized_by=facts.normalized_by,
        weights=facts.weights,
    )


def epoch_line(record: EpochRecord, epochs: int) -> str:
    """Return one epoch of the record as a line for a log."""
    return (
        f"epoch {record.epoch + 1}/{epochs} {record.level} ({record.reason}): loss {record.train_loss:.3f}, "
        f"validation {100 * record.val_accuracy:.1f} %, {record.traffic / 1e6:.2f} MB, {record.seconds:.1f} s"
    )
