"""The job that makes spoken words: with a synthesizer, and without one."""

from __future__ import annotations

import json
import shutil

import pytest

from raysplit.config import DataConfig
from raysplit.data import load
from tests.jobs.conftest import load_job

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


@needs_espeak
def test_words_are_spoken(run_job, tmp_path, monkeypatch):
    monkeypatch.setenv("RAYSPLIT_CACHE", str(tmp_path / "cache"))
    job = load_job("make_speech")
    monkeypatch.setattr("tests.jobs.conftest.load_job", lambda _: job)
    monkeypatch.setattr(job, "WORDS", ("yes", "no"))
    monkeypatch.setattr(job, "SPEEDS", (160,))
    done = run_job("make_speech", "--out", tmp_path / "speech", "--speakers", 5)
    last = json.loads(done.out.splitlines()[-1])
    assert done.code == 0 and last["recordings"] == 20 and last["speakers"] == 5
    sets = [
        load(DataConfig(name=f"audio:{tmp_path / 'speech'}", val_fraction=0.25), split)
        for split in ("train", "val", "test")
    ]
    assert [len(one.clips.chunks) for one in sets] == [12, 4, 4] and sets[0].classes == ("no", "yes")
    assert all(one.images.float().std() > 10 for one in sets)


def test_mistakes(fail_job, tmp_path, monkeypatch):
    assert "--speakers is 1 to 48, got 0" in fail_job("make_speech", "--out", tmp_path, "--speakers", 0)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "apt-get install espeak-ng" in fail_job("make_speech", "--out", tmp_path)
