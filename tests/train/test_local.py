"""Runs in one process: the record, checkpoints, and going on after a stop."""

from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import load

from raysplit.config import Fixed
from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir
from raysplit.train.local import train_local

SIDES = ("device", "server")


def weights(run_dir) -> list[bytes]:
    return [RunDir.at(str(run_dir)).read(f"{side}.safetensors") for side in SIDES]


def test_a_line_for_each_epoch(squeezed, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "raysplit"):
        train_local(squeezed, run_dir=str(tmp_path / "run"))
    assert [line.split(" ")[:2] for line in caplog.messages] == [["epoch", "1/2"], ["epoch", "2/2"]]


class Stop(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "stop_at", [pytest.param((0, 2), marks=pytest.mark.slow), (1, 1), pytest.param((2, 3), marks=pytest.mark.slow)]
)
def test_resume_equals_an_undisturbed_run(squeezed, tmp_path, stop_at, optimizer):
    """Three epochs in two phases: one stop is between two epochs that share the optimizer's state."""
    squeezed = squeezed.replaced(train=squeezed.train.replaced(epochs=3, optimizer=optimizer, lr=0.01))

    def stop(epoch, step, steps, loss):
        if (epoch, step) == stop_at:
            raise KeyboardInterrupt

    whole = train_local(squeezed, run_dir=str(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        train_local(squeezed, run_dir=str(tmp_path / "stopped"), on_step=stop)
    assert RunDir.at(str(tmp_path / "stopped")).summary() is None
    resumed = train_local(squeezed, run_dir=str(tmp_path / "stopped"))
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    assert resumed.accuracy == whole.accuracy and resumed.bytes_up == whole.bytes_up


def test_resume_with_error_feedback(squeezed, tmp_path):
    """Two epochs at one level: what rounding took from the gradients is in the checkpoint between them."""
    squeezed = squeezed.replaced(schedule=Fixed(level="c4.k8r20.b4/b3.ef"))

    def stop(epoch, step, steps, loss):
        if (epoch, step) == (1, 2):
            raise KeyboardInterrupt

    train_local(squeezed, run_dir=str(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        train_local(squeezed, run_dir=str(tmp_path / "stopped"), on_step=stop)
    train_local(squeezed, run_dir=str(tmp_path / "stopped"))
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")


def test_a_finished_run_is_not_trained_again(squeezed, tmp_path):
    first = train_local(squeezed, run_dir=str(tmp_path))
    steps = []
    again = train_local(squeezed, run_dir=str(tmp_path), on_step=lambda *about: steps.append(about))
    assert not steps
    assert again.accuracy == first.accuracy


def test_a_run_directory_of_another_config_is_refused_and_left_alone(squeezed, plain, tmp_path):
    train_local(squeezed, run_dir=str(tmp_path))
    before = weights(tmp_path)
    with pytest.raises(ConfigError, match="holds a run of another config"):
        train_local(plain, run_dir=str(tmp_path))
    assert weights(tmp_path) == before


def test_the_record(squeezed, tmp_path):
    summary = train_local(squeezed, run_dir=str(tmp_path))
    place = RunDir.at(str(tmp_path))
    assert place.config() == squeezed
    assert place.summary() == summary
    assert [row.epoch for row in place.records()] == [0, 1]
    assert len(place.checkpoints()) == 2
    device, server = (load(data) for data in weights(tmp_path))
    assert "encoder.logits" in device and "decoder.mix.weight" in server
    assert not {name for name in device if name.startswith("body.")} & set(server)
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(ConfigError, match=r"is not a run directory: it has no config.json"):
        RunDir.at(str(tmp_path)).config()


def test_a_checkpoint_that_was_cut_short_is_not_used(squeezed, tmp_path):
    train_local(squeezed, run_dir=str(tmp_path))
    place = RunDir.at(str(tmp_path))
    (tmp_path / "checkpoint_9999").mkdir()
    (tmp_path / "checkpoint_9999" / "state.pt.part").write_bytes(b"half a checkp")
    assert "checkpoint_9999" not in place.checkpoints()


def test_a_checkpoint_that_cannot_be_read_gives_way_to_the_one_before(squeezed, tmp_path):
    whole = train_local(squeezed, run_dir=str(tmp_path))
    newest = tmp_path / RunDir.at(str(tmp_path)).checkpoints()[-1] / "state.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    expected = weights(tmp_path)
    assert train_local(squeezed, run_dir=str(tmp_path)).accuracy == whole.accuracy
    assert weights(tmp_path) == expected


def test_storage_that_cannot_be_used(squeezed, tmp_path):
    with pytest.raises(ConfigError, match="'nowhere://x' is not a path or URI that pyarrow can open"):
        train_local(squeezed, run_dir="nowhere://x")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write config.json to .*set ray.storage"):
        train_local(squeezed, run_dir=str(tmp_path / "file" / "run"))


def test_logits_are_frozen_and_reset_as_deprune_asks(squeezed, tmp_path):
    def logits(run):
        return load(RunDir.at(str(run)).read("device.safetensors"))["encoder.logits"]

    train_local(squeezed, run_dir=str(tmp_path / "reset"))
    kept = squeezed.replaced(schedule=squeezed.schedule.replaced(reset_logits=False))
    train_local(kept, run_dir=str(tmp_path / "kept"))
    assert not torch.equal(logits(tmp_path / "reset"), logits(tmp_path / "kept"))
    # The loose phase is unbudgeted: the reset values are still there, untouched by training.
    reset = logits(tmp_path / "reset")
    assert bool(((reset == 15) | (reset < 3)).all())
