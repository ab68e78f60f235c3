from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raysplit.errors import ConfigError
from raysplit.folders.reader import labels
from raysplit.report import read_run


def test_finished(record):
    run = read_run(record("a", "deprune"))
    assert (run.name, run.planned_epochs, len(run.epochs)) == ("mnist5k_deprune", 6, 6)
    assert run.summary is not None
    assert run.traffic[-1] == run.summary.traffic
    assert run.phases == [("c4·b4/b4·zstd", 0, 4), ("c16·b4/b4·zstd", 4, 6)]
    assert sum(record.server_s for record in run.epochs) == 42


def test_unfinished(record):
    run = read_run(record("a", "unfinished"))
    assert run.summary is None
    assert run.traffic == [254_000, 508_000, 762_000]


def test_uri(record):
    path = record("a", "plain")
    assert read_run(f"file://{path}") == read_run(path)


def test_not_a_run(tmp_path):
    remedy = "name the run_dir that a training job printed"
    with pytest.raises(ConfigError, match=rf"^'.*/nowhere' is not a run directory: it has no config.json; {remedy}$"):
        read_run(f"{tmp_path}/nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"'.*/file' is not a run directory: it has no config.json"):
        read_run(f"{tmp_path}/file")
    with pytest.raises(ConfigError, match="'floppy://a' is not a path or URI"):
        read_run("floppy://a")


def test_no_epochs(record):
    path = record("a", "plain")
    metrics = Path(path) / "metrics.parquet"
    pq.write_table(pq.read_table(metrics).slice(0, 0), metrics)
    with pytest.raises(
        ConfigError,
        match=f"^run '{path}' has no epochs yet: its metrics.parquet is empty; wait for its first epoch to end$",
    ):
        read_run(path)
    metrics.unlink()
    with pytest.raises(
        ConfigError,
        match=f"^run '{path}' has no epochs yet: it has no metrics.parquet; wait for its first epoch to end$",
    ):
        read_run(path)


@pytest.mark.parametrize(
    ("file", "data", "text"),
    [
        ("config.json", "{", "config.json in '{path}' is not JSON: "),
        ("config.json", "{}", "config.json in '{path}': name: Field required"),
        ("config.json", '{"name": "a", "train": {}}', "config.json in '{path}': data: Field required"),
        ("config.json", "[]", "config.json in '{path}': Input should be a valid dictionary"),
        ("metrics.parquet", "nonsense", "metrics.parquet in '{path}' cannot be read: ArrowInvalid"),
        ("summary.json", "", "summary.json in '{path}' is not JSON: "),
        ("summary.json", "{}", "summary.json in '{path}': recipe: Field required"),
    ],
)
def test_damaged(record, file, data, text):
    path = record("a", "plain")
    (Path(path) / file).write_text(data)
    with pytest.raises(ConfigError) as caught:
        read_run(path)
    assert str(caught.value).startswith(text.format(path=path)) and "\n" not in str(caught.value)


def test_labels(record):
    def named(*runs):
        return labels([read_run(record(folder, "plain", name)) for folder, name in runs])

    assert named(("a", "x"), ("b", "y")) == ["x", "y"]
    assert named(("c", "x"), ("d", "x"), ("e", "y")) == ["x (c)", "x (d)", "y"]
    first, second = named(("f/same", "x"), ("g/same", "x"))
    assert first.endswith("/f/same)") and second.endswith("/g/same)")
    assert named(("h", "a\x1b[31m\nb")) == ["a [31m b"]
