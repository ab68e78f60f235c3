"""What a search refuses before Ray starts; whole searches run in tests/jobs/test_search.py."""

from __future__ import annotations

import signal

import pytest
import ray
from ray import tune

from raysplit.errors import ConfigError
from raysplit.folders.search_dir import SearchDir
from raysplit.search.run import run_search
from tests.search.searches import make_search


def test_another_search_in_the_folder_is_left_alone(tmp_path):
    folder = SearchDir.at(str(tmp_path / "s"))
    folder.claim(make_search(tmp_path))
    with pytest.raises(ConfigError, match="holds another search"):
        run_search(make_search(tmp_path, seed=1), folder)


class Dropping:
    """Python drops what a destructor raises, as where Ray's handles end."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def drop_interrupt():
    one = Dropping()
    del one


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("when", ["before a trial", "after the last"])
def test_a_dropped_interrupt_ends_the_search(tmp_path, monkeypatch, when):
    """The search stops at the next trial, and writes no results of a part that look like those of the whole."""
    search, folder = make_search(tmp_path, trials=2), SearchDir.at(str(tmp_path / "s"))
    asked = []

    class Tuner:
        def __init__(self, trainable, tune_config, run_config):
            self.searcher = tune_config.search_alg

        def fit(self):
            if when == "after the last":
                drop_interrupt()
                return
            for name in ("first", "second"):
                asked.append(self.searcher.suggest(name))
                drop_interrupt()

    monkeypatch.setattr(tune, "Tuner", Tuner)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr("raysplit.search.run.prepare_trials", lambda *_: None)
    with pytest.raises(KeyboardInterrupt, match=f"^{folder.location}$"):
        run_search(search, folder)
    assert len(asked) == (when == "before a trial")
    assert not (tmp_path / "s" / "front.png").exists()
