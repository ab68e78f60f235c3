import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

LEVELS = {"tight": "c4·b4/b4·zstd", "loose": "c16·b4/b4·zstd", "full": "all·b32/b32"}


def _row(epoch, level, reason, up, accuracy):
    return {
        "epoch": epoch,
        "level": LEVELS[level],
        "reason": reason,
        "lr": 0.05,
        "train_loss": 1.5 / (epoch + 1),
        "train_accuracy": accuracy - 0.05,
        "val_loss": 1.25 / (epoch + 1),
        "val_accuracy": accuracy,
        "up_activations": up,
        "up_labels": 3_600,
        "up_headers": 6_400,
        "down_gradients": up,
        "down_headers": 4_000,
        "steps": 72,
        "test_accuracy": None,
        "evaluation": up // 10,
        "seconds": 10.0,
        "device_s": 2.0,
        "server_s": 7.0,
        "link_s": 1.0,
        "wait_s": 0.5,
        "threads_device": 2,
        "threads_server": 2,
        "predicted_wifi_s": 11.0,
        "predicted_lte_s": 12.5,
        "predicted_ethernet_s": 10.0,
        "predicted_iot_s": 400.0,
    }


def _summary(name, rows, accuracy, fp32, raw):
    up = sum(row[key] for row in rows for key in ("up_activations", "up_labels", "up_headers"))
    down = sum(row[key] for row in rows for key in ("down_gradients", "down_headers"))
    return {
        "recipe": name,
        "accuracy": accuracy,
        "bytes_up": up,
        "bytes_down": down,
        "bytes_evaluation": sum(row["evaluation"] for row in rows) + 1_000_000,
        "bytes_checkpoint": 397_785,
        "bytes_fp32": fp32,
        "bytes_raw_upload": raw,
        "times_less": fp32 / (up + down),
        "times_less_than_upload": raw / (up + down),
        **{key: sum(row[key] for row in rows) for key in ("device_s", "server_s", "link_s")},
    }


@pytest.fixture
def record(tmp_path):
    """Return a maker of run directories: `record(folder, kind, name)`.

    kind is deprune, plain, family (two levels) or unfinished.
    """

    def make(folder, kind, name=None):
        name = name or f"mnist5k_{kind}"
        epochs = {"deprune": 6, "plain": 4, "family": 4, "unfinished": 8}[kind]
        if kind == "deprune":
            rows = [_row(i, "tight", "phase 1 of 2", 100_000, 0.5 + 0.08 * i) for i in range(4)]
            rows += [_row(i, "loose", "phase 2 of 2", 400_000, 0.8 + 0.02 * i) for i in (4, 5)]
            summary = _summary(name, rows, 0.913, fp32=1_253_000_000, raw=2_822_400)
        elif kind == "plain":
            rows = [_row(i, "full", "fixed", 45_000_000, 0.6 + 0.1 * i) for i in range(4)]
            summary = _summary(name, rows, 0.96, fp32=360_056_000, raw=2_822_400)
        elif kind == "family":
            rows = [_row(i, "loose", "base", 400_000, 0.8 + 0.05 * i) for i in range(2)]
            rows += [_row(i, "tight", "by transfer", 100_000, 0.7 + 0.05 * i) for i in (2, 3)]
            rows[1]["test_accuracy"], rows[3]["test_accuracy"] = 0.86, 0.843
            summary = _summary(name, rows, 0.843, fp32=360_056_000, raw=2_822_400)
        else:
            rows, summary = [_row(i, "tight", "phase 1 of 2", 120_000, 0.4 + 0.1 * i) for i in range(3)], None
        config = {
            "name": name,
            "data": {"name": "mnist5k"},
            "model": {"name": "vgg11", "args": {"width": 0.5}},
            "cut": "features.7",
            "train": {"epochs": epochs, "batch_size": 50},
        }
        path = tmp_path / folder
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(config))
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        (path / "metrics.parquet").write_bytes(sink.getvalue())
        if summary:
            (path / "summary.json").write_text(json.dumps(summary))
        return str(path)

    return make


@pytest.fixture
def three(record):
    """Return the paths of a deprune run, a plain one and one that has not ended."""
    return [record(kind, kind) for kind in ("deprune", "plain", "unfinished")]
