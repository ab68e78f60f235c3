"""A Ctrl-C at any point of a job ends it with 130, with nothing half-written, whatever becomes of the exception."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path

import pytest
import ray
from ray import tune
from ray.tune.search import Searcher

from raysplit.folders.search_dir import SearchDir
from raysplit.search.tune_trial import StepResult
from tests.jobs.conftest import JOBS
from tests.search.searches import SPACE, make_report

OURS = (str(JOBS.parent / "raysplit"), str(JOBS))


class InterruptAt:
    """Sends SIGINT at the n-th call of a function of ours; `dropped`: where nothing becomes of the exception."""

    def __init__(self, number: int, dropped: bool):
        self.number, self.dropped, self.calls = number, dropped, 0

    def __call__(self, frame, event, arg):
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            self.calls += 1
            if self.calls == self.number:
                with contextlib.suppress(KeyboardInterrupt) if self.dropped else contextlib.nullcontext():
                    signal.raise_signal(signal.SIGINT)

    def __enter__(self):
        sys.setprofile(self)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)


class Tuner:
    """Ray Tune's loop, one trial after the other in this process; each reports at once."""

    def __init__(self, trainable, tune_config, run_config):
        self.searcher = tune_config.search_alg

    def fit(self):
        number = 0
        while (task := self.searcher.suggest(str(number))) is not Searcher.FINISHED:
            result = StepResult(task["number"], 0.1, make_report(0.5 + number / 10, bytes=10 + number)).to_tune()
            self.searcher.on_trial_result(str(number), result)
            self.searcher.on_trial_complete(str(number), result)
            number += 1


@pytest.fixture
def search(monkeypatch, tmp_path, run_job):
    """Run the job `search`, of four trials, in a folder of the given name; return what is left on the terminal."""
    monkeypatch.setattr(tune, "Tuner", Tuner)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr("raysplit.utils.progress.show_progress", lambda: None)  # for the rest of the process
    monkeypatch.setattr("raysplit.search.results.plot_front", lambda *_, **__: b"png")  # seconds
    (tmp_path / "space.py").write_text(SPACE)
    words = ["--space", tmp_path / "space.py", "--recipe", "cifar10_vgg11_fixed", "--set", "train.epochs=2"]
    words += ["--trials", 4, "--no-confirm", "--out"]
    return lambda folder: run_job("search", *words, tmp_path / folder)


@pytest.mark.parametrize("dropped", [False, True])
def test_a_search_stops_at_any_point_and_goes_on(search, tmp_path, run_job, dropped):
    with InterruptAt(0, dropped) as whole:
        done = search("whole")
    assert done.code == 0, done.err
    for number in range(5, whole.calls, max(1, whole.calls // 13)):  # from where `run_command` watches
        folder = tmp_path / str(number)
        with InterruptAt(number, dropped) as interrupt:
            done = search(folder.name)
        if interrupt.calls < number:  # later runs have caches
            continue
        assert done.code == 130, (number, done)
        begun = (folder / "search.json").exists()
        hint = f"; continue with --resume {folder}" if begun and not (folder / "front.png").exists() else ""
        assert done.err.startswith(f"interrupted{hint}") and done.err.count("\n") == 1, (number, done.err)
        if begun:
            before = SearchDir.at(str(folder)).trials()
            again = run_job("search", "--resume", folder, "--no-confirm")
            assert again.code == 0, (number, again.err)
            trials = SearchDir.at(str(folder)).trials()
            assert trials[: len(before)] == before and [trial.number for trial in trials] == [0, 1, 2, 3], number
            assert len({str(trial.point) for trial in trials}) == 4, number
            assert not list(Path(folder).rglob("*.part"))
