"""A run in one object: accuracy, bytes, seconds, and what they are measured against."""

from __future__ import annotations

from typing import Any

from raysplit.config import UNCOMPRESSED
from raysplit.train.costs import step_bytes
from raysplit.train.loop import Loop
from raysplit.train.predict import predicted_sums
from raysplit.train.traffic import DOWN, UP


def summarise(loop: Loop, run_dir: str) -> dict[str, Any]:
    """Return the summary of a finished run; `accuracy` is the test split's, in 0..1, bytes are frame bytes."""
    config, rows, about, test = loop.config, loop.rows, loop.about, loop.test
    assert test is not None
    up = sum(row[kind] for row in rows for kind in UP)
    down = sum(row[kind] for row in rows for kind in DOWN)
    full = step_bytes(config, UNCOMPRESSED, loop.cut.shape, loop.cut.channel_dim, loop.classes)
    steps = about["train_rows"] // config.train.batch_size
    reference = (full[0] + full[1]) * steps * len(rows)
    return {
        "recipe": config.name,
        "accuracy": test["accuracy"],
        "bytes_up": up,
        "bytes_down": down,
        "seconds": sum(row["seconds"] for row in rows),
        "run_dir": run_dir,
        "val_accuracy": rows[-1]["val_accuracy"],
        "bytes_evaluation": sum(row["evaluation"] + row["evaluation_test"] for row in rows) + test["evaluation"],
        "bytes_checkpoint": loop.checkpoint_bytes,
        "bytes_fp32": reference,
        "bytes_raw_upload": about["raw_bytes"],
        "times_less": reference / (up + down),
        "times_less_than_upload": about["raw_bytes"] / (up + down),
        **{key: sum(row[key] for row in rows) for key in ("device_s", "server_s", "link_s", "wait_s")},
        "predicted_s": predicted_sums(rows),
        "skipped_rows": about["skipped"],
        "classes": about["classes"],
        "shape": list(about["shape"]),
        "mean": about["mean"],
        "std": about["std"],
    }


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """Return one epoch of the record as a line for a log."""
    megabytes = sum(row[kind] for kind in (*UP, *DOWN)) / 1e6
    return (
        f"epoch {row['epoch'] + 1}/{epochs} {row['level']} ({row['reason']}): loss {row['train_loss']:.3f}, "
        f"validation {100 * row['val_accuracy']:.1f} %, {megabytes:.2f} MB, {row['seconds']:.1f} s"
    )
