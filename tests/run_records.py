"""Fixtures: the folders of runs that never ran, with records as real ones have."""

import io
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysplit.config import DataConfig, ModelConfig, SplitConfig, TrainConfig
from raysplit.records.epoch import ByteCounts, EpochRecord
from raysplit.records.summary import RunSummary

LEVELS = {"tight": "c4·b4/b4·zstd", "loose": "c16·b4/b4·zstd", "full": "all·b32/b32"}


def _epoch(epoch, level, reason, up, accuracy, test_accuracy=None):
    return EpochRecord(
        epoch=epoch,
        level=LEVELS[level],
        reason=reason,
        lr=0.05,
        train_loss=1.5 / (epoch + 1),
        train_accuracy=accuracy - 0.05,
        val_loss=1.25 / (epoch + 1),
        val_accuracy=accuracy,
        steps=72,
        bytes=ByteCounts(
            up_activations=up,
            up_labels=3_600,
            up_headers=6_400,
            down_gradients=up,
            down_headers=4_000,
            evaluation=up // 10,
        ),
        test_accuracy=test_accuracy,
        seconds=10.0,
        device_s=2.0,
        server_s=7.0,
        link_s=1.0,
        wait_s=0.5,
        threads_device=2,
        threads_server=2,
        predicted_s={"wifi": 11.0, "lte": 12.5, "ethernet": 10.0, "iot": 400.0},
    )


def _summary(name, epochs, accuracy, fp32, raw):
    up, down = sum(record.bytes_up for record in epochs), sum(record.bytes_down for record in epochs)
    return RunSummary(
        recipe=name,
        accuracy=accuracy,
        bytes_up=up,
        bytes_down=down,
        seconds=sum(record.seconds for record in epochs),
        run_dir="runs/somewhere",
        val_accuracy=epochs[-1].val_accuracy,
        bytes_evaluation=sum(record.bytes.evaluation for record in epochs) + 1_000_000,
        bytes_checkpoint=397_785,
        bytes_fp32=fp32,
        bytes_raw_upload=raw,
        times_less=fp32 / (up + down),
        times_less_than_upload=raw / (up + down),
        device_s=sum(record.device_s for record in epochs),
        server_s=sum(record.server_s for record in epochs),
        link_s=sum(record.link_s for record in epochs),
        wait_s=sum(record.wait_s for record in epochs),
        skipped_rows=0,
        classes=tuple("0123456789"),
        shape=(1, 28, 28),
        mean=(0.1,),
        std=(0.3,),
    )


@pytest.fixture
def record(tmp_path):
    """Return a maker of run directories in the test's own folder."""
    return recorder(tmp_path)


def recorder(root):
    """Return a maker of run directories in a folder: `record(folder, kind, name)`.

    kind is deprune, plain, family (two levels) or unfinished.
    """

    def make(folder, kind, name=None):
        name = name or f"mnist5k_{kind}"
        epochs = {"deprune": 6, "plain": 4, "family": 4, "unfinished": 8}[kind]
        if kind == "deprune":
            rows = [_epoch(i, "tight", "phase 1 of 2", 100_000, 0.5 + 0.08 * i) for i in range(4)]
            rows += [_epoch(i, "loose", "phase 2 of 2", 400_000, 0.8 + 0.02 * i) for i in (4, 5)]
            summary = _summary(name, rows, 0.913, fp32=1_253_000_000, raw=2_822_400)
        elif kind == "plain":
            rows = [_epoch(i, "full", "fixed", 45_000_000, 0.6 + 0.1 * i) for i in range(4)]
            summary = _summary(name, rows, 0.96, fp32=360_056_000, raw=2_822_400)
        elif kind == "family":
            rows = [_epoch(i, "loose", "base", 400_000, 0.8 + 0.05 * i) for i in range(2)]
            rows += [_epoch(i, "tight", "by transfer", 100_000, 0.7 + 0.05 * i) for i in (2, 3)]
            rows[1], rows[3] = replace(rows[1], test_accuracy=0.86), replace(rows[3], test_accuracy=0.843)
            summary = _summary(name, rows, 0.843, fp32=360_056_000, raw=2_822_400)
        else:
            rows, summary = [_epoch(i, "tight", "phase 1 of 2", 120_000, 0.4 + 0.1 * i) for i in range(3)], None
        config = SplitConfig(
            name=name,
            data=DataConfig(name="mnist5k"),
            model=ModelConfig(name="vgg11", args={"width": 0.5}),
            cut="features.7",
            train=TrainConfig(epochs=epochs, batch_size=50),
        )
        path = root / folder
        path.mkdir(parents=True)
        (path / "config.json").write_text(config.model_dump_json())
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([record.to_row() for record in rows]), sink)
        (path / "metrics.parquet").write_bytes(sink.getvalue())
        if summary:
            (path / "summary.json").write_text(summary.model_dump_json())
        return str(path)

    return make


@pytest.fixture
def three(record):
    """Return the paths of a deprune run, a plain one and one that has not ended."""
    return [record(kind, kind) for kind in ("deprune", "plain", "unfinished")]
