"""What stands around a trainer of Ray Train; that it trains is tested in train and ensemble."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from raysplit.utils.ray_train import fit, pickle_config
from raysplit.utils.user_code import load_function


class Trainer:
    """One whose `fit` is given."""

    def __init__(self, fit):
        self.fit = fit


def exits():
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))  # as Ray Train does
    signal.raise_signal(signal.SIGINT)


def ends():
    signal.signal(signal.SIGINT, lambda *_: None)  # as Ray Train does where its controller has ended
    signal.raise_signal(signal.SIGINT)


def breaks():
    ends()
    raise ValueError("the controller is gone")


def fails():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise ValueError("theirs")


@pytest.mark.parametrize(
    ("run", "error", "text"),
    [
        (exits, KeyboardInterrupt, "^runs/one$"),
        (ends, KeyboardInterrupt, "^runs/one$"),
        (breaks, KeyboardInterrupt, "^runs/one$"),
        (fails, ValueError, "^theirs$"),
    ],
)
def test_an_exit_is_an_interrupt_that_names_the_folder_and_rays_handler_is_gone(run, error, text):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(error, match=text):
        fit(Trainer(run), "runs/one")
    assert signal.getsignal(signal.SIGINT) is before


def test_its_workers_stay_where_they_are_and_its_result_is_handed_on(monkeypatch):
    monkeypatch.delenv("RAY_CHDIR_TO_TRIAL_DIR", raising=False)
    assert fit(Trainer(lambda: os.environ["RAY_CHDIR_TO_TRIAL_DIR"]), "runs/one") == "0"


def test_in_a_thread_which_has_no_handlers():
    found = []
    thread = threading.Thread(target=lambda: found.append(fit(Trainer(lambda: "done"), "runs/one")))
    thread.start()
    thread.join()
    assert found == ["done"]


def test_classes_of_a_users_file_travel_with_a_config(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("class Box:\n    size = 3\ndef make():\n    return Box()\n")
    pickled = pickle_config(load_function(f"{file}:make")())
    code = "import pickle, sys; sys.exit(pickle.load(sys.stdin.buffer).size != 3)"
    assert subprocess.run([sys.executable, "-c", code], input=pickled, check=False).returncode == 0
