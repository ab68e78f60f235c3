"""The traffic table from made-up results: what counts as reached, what a level by transfer cost."""

from __future__ import annotations

import pytest


@pytest.fixture
def make_run():
    from traffic.runs import EpochResult, RunResult

    def make(row: str, epochs, accuracy: float, seed: int = 0):
        """Return a run of epochs given as (bytes, validation accuracy, mode, test accuracy or None)."""
        results = [
            EpochResult(
                level=f"c{8 - index}·b4/b4",
                mode=mode,
                frame_bytes=sent,
                header_bytes=min(sent, 10),
                label_bytes=1,
                val_accuracy=val,
                test_accuracy=test,
                train_s=2.0,
            )
            for index, (sent, val, mode, test) in enumerate(epochs)
        ]
        return RunResult(
            row=row,
            seed=seed,
            settings="s",
            accuracy=accuracy,
            raw_bytes=500,
            epochs=tuple(results),
            commits=("abc",),
            machines=("here",),
        )

    return make


@pytest.fixture
def runs(make_run):
    reference = [(2000, 0.5, "joint", None), (2000, 0.8, "joint", None)]
    return [
        make_run("freeze", [(0, 0.9, "alone", None), (100, 0.7, "frozen", None), (0, 0.8, "cached", None)], 0.75),
        make_run("split fp32", reference, 0.7),
        make_run("prune", [(300, 0.7, "joint", 0.7), (100, 0.6, "joint", 0.6)], 0.6),
        make_run("device alone", [(700, 0.6, "joint", None)], 0.6),
        make_run("of another preset", reference, 0.1),
        make_run("split fp32", reference, 0.8, seed=1),
    ]


@pytest.fixture
def table(runs):
    from traffic.table import as_text, rows

    names = ["split fp32", "freeze", "not trained yet", "prune", "device alone"]
    lines = rows(runs, names, "split fp32", {"raw, uint8": 500, "raw, files": 100})
    assert [line["name"] for line in lines] == [
        "unsplit", "device alone", "split fp32", "freeze", "prune: c8·b4/b4", "prune: c7·b4/b4", "raw, uint8",
        "raw, files",
    ]  # fmt: skip
    assert len(as_text(lines).splitlines()) == 1 + len(lines)
    return {line["name"]: line for line in lines}


def test_means_and_spread_over_seeds(table):
    line = table["split fp32"]
    assert (line["seeds"], line["frame_mb"], line["times_less"]) == (2, 4000 / 1e6, 1.0)
    assert line["payload_mb"] == 3980 / 1e6 and line["val_accuracy_mean"] == pytest.approx(80)
    assert line["accuracy_mean"] == pytest.approx(75) and line["accuracy_std"] == pytest.approx(50**0.5)
    assert table["freeze"]["accuracy_std"] is None


def test_epochs_of_the_device_alone_do_not_reach_the_target(table):
    assert table["split fp32"]["mb_to_target"] == 4000 / 1e6
    assert table["freeze"]["mb_to_target"] == pytest.approx(100 / 1e6)  # not 0, of its first epoch


def test_a_level_by_transfer_costs_what_came_before_it(table):
    first, second = (line for name, line in table.items() if name.startswith("prune"))
    assert first["frame_mb"] == 300 / 1e6 and second["frame_mb"] == 400 / 1e6
    assert second["times_less"] == 10 and second["stage_epochs"] == 1 and second["stage_seconds"] == 2.0


def test_nothing_crosses_where_there_is_no_cut(table):
    for name in ("unsplit", "device alone"):
        assert table[name]["frame_mb"] == table[name]["payload_mb"] == 0 and table[name]["times_less"] is None
    assert table["unsplit"]["seconds"] is None and table["device alone"]["seconds"] == 2.0
    assert table["unsplit"]["accuracy_mean"] == pytest.approx(75) and table["device alone"]["seeds"] == 1


def test_an_upload_costs_its_bytes_and_the_labels(table):
    line = table["raw, files"]
    assert line["frame_mb"] == 101 / 1e6 and line["times_less"] == pytest.approx(4000 / 101)
    assert line["times_less_than_upload"] == pytest.approx(500 / 101), "against pixels"
    assert line["commits"] == [] and line["seconds"] is None


def test_there_is_no_table_without_the_reference(runs):
    from traffic.table import rows

    assert rows([run for run in runs if run.row != "split fp32"], ["split fp32", "freeze"], "split fp32", {}) == []
