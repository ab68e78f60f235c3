"""Split training on recordings: their chunks are answered together, by both sides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from raysplit import load_family, load_run, read_run
from raysplit.cli.main import main
from raysplit.config import FreezeAndCache, LocalLoss, Stage
from raysplit.data import load
from raysplit.data.clips import average_chunks, label_clips
from raysplit.train.local import train_local
from tests.sounds import AUDIO, run_config, tone, wav

pytestmark = pytest.mark.usefixtures("sound_cache")


def test_the_recorded_accuracy_is_of_recordings(audio_run, recordings):
    run, network = read_run(str(audio_run)), load_run(str(audio_run))
    test = load(run.config.data, "test")
    assert test.chunks is not None and run.config.data.audio == AUDIO and run.summary.shape == AUDIO.shape
    logits = torch.cat([network(images) for images in test.images.split(run.config.train.batch_size)])
    answers = average_chunks(logits.softmax(1), test.chunks).argmax(1)
    assert (answers == label_clips(test.labels, test.chunks)).float().mean().item() == pytest.approx(
        run.summary.accuracy
    )
    assert run.summary.accuracy * len(test.chunks) == pytest.approx(round(run.summary.accuracy * len(test.chunks)))
    assert run.summary.accuracy > 0.6  # of three classes


def test_it_is_resumed_to_the_same_end(audio_run, recordings, tmp_path):
    again = train_local(run_config(recordings), str(tmp_path / "again"))
    assert again.accuracy == read_run(str(audio_run)).summary.accuracy


def test_a_device_that_learns_alone_answers_recordings_too(recordings, tmp_path):
    config = run_config(recordings)
    config = config.replaced(
        bottleneck=None,
        schedule=FreezeAndCache(learn=Stage(level="all.b4/b4", share=1), send=Stage(level="all.b4/b4", share=1)),
        train=config.train.replaced(epochs=4, local_loss=LocalLoss(width=8, layers=1)),
    )
    summary = train_local(config, str(tmp_path))
    clips = len(load(config.data, "val").chunks)
    for epoch in read_run(str(tmp_path)).epochs:
        assert epoch.val_accuracy * clips == pytest.approx(round(epoch.val_accuracy * clips))
    assert 0 <= summary.accuracy <= 1


def test_a_recording_is_answered_by_the_command_as_a_process_of_its_own(audio_run, tmp_path):
    """Nothing that this process has loaded or kept is there."""
    (tmp_path / "long.wav").write_bytes(wav(tone(300, 0.9)))
    command = [sys.executable, "-m", "raysplit", "predict", str(audio_run), "long.wav", "--json"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr
    (answer,) = json.loads(done.stdout)["images"]
    network = load_run(str(audio_run))
    shares = network(torch.from_numpy(network.family.input.decode(tmp_path / "long.wav"))).softmax(1).mean(0)
    best = answer["top"][0]
    assert answer["file"] == "long.wav" and best["class"] == network.family.manifest.classes[int(shares.argmax())]
    assert best["probability"] == pytest.approx(float(shares.max()), rel=1e-4)


def test_predict_of_recordings(audio_run, tmp_path, capsys):
    files = [tmp_path / "short.wav", tmp_path / "long.wav"]
    files[0].write_bytes(wav(tone(300, 0.2)))
    files[1].write_bytes(wav(np.stack([tone(2_500, 0.9, 44_100)] * 2, 1), 44_100))
    assert main(["predict", str(audio_run), *map(str, files)]) == 0
    lines = capsys.readouterr().out.splitlines()
    network = load_run(str(audio_run))
    for file, line in zip(files, lines, strict=True):
        chunks = torch.from_numpy(network.family.input.decode(file))
        shares = network(chunks).softmax(1).mean(0)
        assert line.split()[1] == load_family(str(audio_run)).manifest.classes[int(shares.argmax())]
    (tmp_path / "cut.wav").write_bytes(files[0].read_bytes()[:-7])
    for name in ("cut.wav", "none.wav"):
        assert main(["predict", str(audio_run), str(Path(tmp_path, name))]) == 1
        text = capsys.readouterr().err
        assert text.startswith(f"error: {tmp_path / name}: ") and text.endswith("give audio files\n")
