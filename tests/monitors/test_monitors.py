"""What each monitor writes is read back; runs that go on, and monitors that fail."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import pytest

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError, MissingExtra
from raysplit.folders.run_dir import RunDir
from raysplit.monitors import group
from raysplit.monitors.mlflow_run import _without_password
from raysplit.train.local import train_local
from tests.train.many import many_config

OWN = """
class Broken:
    def __init__(self, where="epoch"):
        self.where = where
    def begin(self, run):
        self.fail("begin")
    def epoch(self, record, devices):
        if record.epoch == 1:
            self.fail("epoch")
    def end(self, summary):
        self.fail("end")
    def fail(self, where):
        if where == self.where:
            raise RuntimeError("the disk of the dashboard\\nis full")

class Nothing:
    pass
"""


class Listener:
    """Remembers what it is told."""

    def __init__(self):
        self.told = []

    def begin(self, run):
        self.told.append(("begin", len(run.records), len(run.device_records)))

    def epoch(self, record, devices):
        self.told.append(("epoch", record.epoch, [one.device for one in devices]))

    def end(self, summary):
        self.told.append(("end", summary is not None))


def stop(config: SplitConfig, path: Path, epoch: int) -> None:
    """Train a run whose process is interrupted in an epoch."""

    def interrupt(now: int, *_: object) -> None:
        if now == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_local(config, str(path), interrupt)


def config_of(*monitors, epochs=2, count=1) -> SplitConfig:
    return many_config("splitfed_v2", count=count, epochs=epochs).replaced(monitors=monitors)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_tensorboard(path: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture
def own(tmp_path):
    """Return `path.py:` of a file with monitors of one's own."""
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path}/own.py"


def test_csv_files_are_the_record(tmp_path):
    run = RunDir.at(train_local(config_of("csv", count=2), str(tmp_path)).run_dir)
    rows, devices = (read_csv(tmp_path / "monitors" / f"{name}.csv") for name in ("epochs", "devices"))
    records = run.records()
    assert [float(row["val_accuracy"]) for row in rows] == [record.val_accuracy for record in records]
    assert [(row["epoch"], row["level"]) for row in rows] == [("0", "all·b32/b32"), ("1", "all·b32/b32")]
    assert [(row["epoch"], row["device"]) for row in devices] == [
        (str(record.epoch.epoch), str(record.device)) for record in run.device_records()
    ]


def test_tensorboard_has_every_number(tmp_path):
    run = RunDir.at(train_local(config_of("tensorboard", count=2), str(tmp_path)).run_dir)
    scalars, records = read_tensorboard(tmp_path / "monitors" / "tensorboard"), run.records()
    assert scalars["val_loss"] == [(i + 1, pytest.approx(one.val_loss)) for i, one in enumerate(records)]
    assert [step for step, _ in scalars["device_1/up_activations"]] == [1, 2]
    assert scalars["test_accuracy"] == [(2, pytest.approx(run.summary().accuracy))]


def test_mlflow_has_every_number_and_a_run_that_goes_on_is_the_same(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config, folder = config_of("mlflow", epochs=3, count=2), tmp_path / "run"
    stop(config, folder, 1)
    client = MlflowClient(tracking_uri=uri)
    (experiment,) = [one for one in client.search_experiments() if one.name == "digits_many"]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "KILLED" and found.info.run_name == "run"
    summary = train_local(config, str(folder))
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.metrics["test_accuracy"] == summary.accuracy
    assert (found.data.params["train.epochs"], found.data.tags["level"]) == ("3", "all·b32/b32")
    for name in ("val_accuracy", "steps", "device_1/val_accuracy"):
        assert [one.step for one in client.get_metric_history(found.info.run_id, name)] == [1, 2, 3]
    values = [one.value for one in client.get_metric_history(found.info.run_id, "val_loss")]
    assert values == [record.val_loss for record in RunDir.at(str(folder)).records()]


def test_a_run_that_goes_on_is_told_no_epoch_twice(tmp_path):
    first, second = Listener(), Listener()
    config = config_of("csv", "tensorboard", first, epochs=3, count=2)
    stop(config, tmp_path, 1)
    assert [one[:2] for one in first.told] == [("begin", 0), ("epoch", 0), ("end", False)]
    assert sorted(first.told[1][2]) == [0, 1]
    train_local(config.replaced(monitors=("csv", "tensorboard", second)), str(tmp_path))
    assert [one[:2] for one in second.told] == [("begin", 1), ("epoch", 1), ("epoch", 2), ("end", True)]
    assert [row["epoch"] for row in read_csv(tmp_path / "monitors" / "epochs.csv")] == ["0", "1", "2"]
    scalars = read_tensorboard(tmp_path / "monitors" / "tensorboard")
    assert [step for step, _ in scalars["val_accuracy"]] == [1, 2, 3]


def test_other_monitors_are_no_other_run(tmp_path):
    stop(config_of("csv"), tmp_path, 1)
    train_local(config_of(), str(tmp_path))
    assert RunDir.at(str(tmp_path)).config().monitors == ()
    assert len(read_csv(tmp_path / "monitors" / "epochs.csv")) == 1


@pytest.mark.parametrize("where", ["epoch", "end"])
def test_a_monitor_that_fails_takes_nothing_with_it(tmp_path, own, caplog, where):
    broken = {"target": f"{own}:Broken", "args": {"where": where}}
    summary = train_local(config_of(broken, "csv"), str(tmp_path / "run"))
    plain = train_local(config_of(), str(tmp_path / "plain"))
    assert summary.accuracy == plain.accuracy
    assert len(read_csv(tmp_path / "run" / "monitors" / "epochs.csv")) == 2
    when = "in epoch 2" if where == "epoch" else "at the end"
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert texts[0] == (
        f"the monitor {own}:Broken failed {when} and is left out from now on: RuntimeError: the disk of the dashboard "
        "is full"
    )
    assert texts[-1].endswith(f"failed {when} and was told nothing from then on; the record is whole")


def test_a_monitor_that_cannot_begin(tmp_path, own, caplog):
    broken = {"target": f"{own}:Broken", "args": {"where": "begin"}}
    with pytest.raises(ConfigError, match="the monitor .*:Broken cannot begin: RuntimeError: the disk .*leave it out"):
        train_local(config_of(broken), str(tmp_path / "run"))
    assert not (tmp_path / "run" / "config.json").exists()
    stop(config_of(), tmp_path / "run", 1)
    train_local(config_of(broken, "csv"), str(tmp_path / "run"))  # goes on without it
    assert "failed at the start and is left out" in caplog.text
    assert len(read_csv(tmp_path / "run" / "monitors" / "epochs.csv")) == 2


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_package_that_is_not_installed(tmp_path, monkeypatch, name):
    monkeypatch.setattr(group, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=rf"the monitor {name} needs the package '{name}': pip install 'raysplit\["):
        train_local(config_of("csv", name), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("monitors", "expected"),
    [
        (["cvs"], "no monitor is called 'cvs'. Nearest: csv. Your own: path.py:Class"),
        ("wandb", "no monitor is called 'wandb'."),
        (["csv", "csv"], "csv is there twice; name each monitor once"),
        ([Listener], "expected a monitor, got the class Listener: pass an object"),
        ([object()], "got object, which has no method begin, epoch, end"),
        ([3], "got int, which has no method begin, epoch, end"),
    ],
)
def test_what_is_no_monitor(monitors, expected):
    with pytest.raises(ValueError) as caught:
        config_of().replaced(monitors=monitors)
    assert expected in str(caught.value)


def test_a_class_without_the_methods(tmp_path, own):
    with pytest.raises(ConfigError, match="Nothing has no method begin, epoch, end"):
        train_local(config_of(f"{own}:Nothing"), str(tmp_path / "run"))


def test_an_object_is_recorded_and_given_again(tmp_path):
    stop(config_of(Listener()), tmp_path, 1)
    stored = RunDir.at(str(tmp_path)).config()
    assert stored.monitors[0].name == "Listener"
    with pytest.raises(ConfigError, match="monitors was an object in memory"):
        train_local(config_of().replaced(monitors=stored.monitors), str(tmp_path))


def test_a_run_without_monitors_is_written_as_ever():
    assert "monitors" not in config_of().model_dump()
    given = config_of("csv", "mine.py:Beep")
    assert SplitConfig.model_validate_json(given.replaced(model={"name": "vgg5"}).model_dump_json()).monitors == (
        given.monitors
    )


def test_no_password_is_kept():
    assert _without_password("https://me:secret@host/x") == "https://host/x"
    assert _without_password("sqlite:////a/mlflow.db") == "sqlite:////a/mlflow.db"
    assert _without_password("databricks") == "databricks"
