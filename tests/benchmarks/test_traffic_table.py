"""The traffic table from made-up records: what counts as reached, what a level by transfer cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir
from raysplit.records.epoch import ByteCounts, EpochRecord
from raysplit.records.summary import RunSummary

MEASURED = dict.fromkeys(
    ("bytes_up", "bytes_down", "seconds", "val_accuracy", "bytes_evaluation", "bytes_checkpoint", "bytes_fp32"), 0
) | dict.fromkeys(("times_less", "times_less_than_upload", "device_s", "server_s", "link_s", "wait_s"), 0.0)
DATA = {"skipped_rows": 0, "classes": ("a", "b"), "shape": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.25,) * 3}


@pytest.fixture
def rows():
    from traffic_table import rows

    return rows


def write_run(path: Path, epochs, accuracy: float) -> Path:
    """Write a run of epochs given as (bytes up, validation accuracy, mode, test accuracy or None)."""
    folder = RunDir.at(str(path))
    folder.write_records(
        [
            EpochRecord(
                epoch=index,
                level=f"c{8 - index}·b4/b4",
                mode=mode,
                val_accuracy=val,
                steps=1,
                bytes=ByteCounts(up_activations=up, up_labels=1),
                test_accuracy=test,
                train_s=2.0,
            )
            for index, (up, val, mode, test) in enumerate(epochs)
        ]
    )
    folder.write_summary(
        RunSummary(recipe="r", run_dir=str(path), accuracy=accuracy, bytes_raw_upload=500, **MEASURED, **DATA)
    )
    (path / "meta.json").write_text(json.dumps({"commit": "abc", "machine": "here"}))
    return path


@pytest.fixture
def table(rows, tmp_path):
    reference = [(1999, 0.5, "joint", None), (1999, 0.8, "joint", None)]
    frozen = [(0, 0.9, "alone", None), (99, 0.7, "frozen", None), (0, 0.8, "cached", None)]
    family = [(299, 0.7, "joint", 0.7), (99, 0.6, "joint", 0.6)]
    run_dirs = {
        "split fp32": [write_run(tmp_path / f"r{i}", reference, 0.7 + 0.1 * i) for i in range(2)],
        "freeze": [write_run(tmp_path / "f", frozen, 0.75)],
        "prune": [write_run(tmp_path / "p", family, 0.6)],
    }
    return {row["name"]: row for row in rows(run_dirs)}


def test_means_and_spread_over_seeds(table):
    row = table["split fp32"]
    assert (row["seeds"], row["frame_mb"], row["times_less"]) == (2, 4000 / 1e6, 1.0)
    assert row["accuracy_mean"] == pytest.approx(75) and row["accuracy_std"] == pytest.approx(50**0.5)
    assert table["freeze"]["accuracy_std"] is None


def test_a_device_alone_does_not_reach_the_target(table):
    assert table["split fp32"]["mb_to_target"] == 4000 / 1e6
    assert table["freeze"]["mb_to_target"] == pytest.approx(102 / 1e6)  # not 1 / 1e6, of its first epoch


def test_a_level_by_transfer_costs_what_came_before_it(table):
    first, second = (row for name, row in table.items() if name.startswith("prune"))
    assert first["frame_mb"] == 300 / 1e6 and second["frame_mb"] == 400 / 1e6
    assert second["times_less"] == 10 and second["stage_epochs"] == 1 and second["stage_seconds"] == 2.0


def test_what_was_not_run_has_no_time(table):
    for name in ("unsplit", "raw images uploaded once"):
        assert table[name]["seconds"] is None and table[name]["commits"] == []
    assert table["raw images uploaded once"]["frame_mb"] == 501 / 1e6


def test_a_row_without_runs_stays_as_it_was(rows, table, tmp_path):
    earlier = list(table.values())
    family = [(299, 0.7, "joint", 0.8), (99, 0.6, "joint", 0.7), (99, 0.6, "joint", 0.5)]
    again = rows({"split fp32": [], "freeze": [], "prune": [write_run(tmp_path / "again", family, 0.5)]}, earlier)
    names = [row["name"] for row in again]
    assert names == ["unsplit", "raw images uploaded once", "split fp32", "freeze", *names[4:]] and len(names) == 7
    assert again[:4] == earlier[:4] and [row["accuracy_mean"] for row in again[4:]] == pytest.approx([80, 70, 50])
    assert again[5]["times_less"] == pytest.approx(10), "against the earlier reference"
    with pytest.raises(KeyError, match="lacking"):
        rows({"split fp32": [], "lacking": []}, earlier)
    thin = [(99, 0.79, "joint", None)]
    assert rows({"split fp32": [], "thin": [write_run(tmp_path / "t", thin, 0.8)]}, earlier)[-1]["mb_to_target"] == 1e-4
    for row in earlier:
        row.pop("val_accuracy_mean", None)
    with pytest.raises(ValueError, match="what `split fp32` had on validation images"):
        rows({"split fp32": [], "thin": [tmp_path / "t"]}, earlier)


def test_a_run_that_has_not_ended_is_refused(rows, tmp_path):
    run = write_run(tmp_path / "r", [(1, 0.5, "joint", None)], 0.5)
    (run / "summary.json").unlink()
    with pytest.raises(ConfigError, match=r"r' has not ended: it has no summary\.json"):
        rows({"split fp32": [run]})
