"""The front of a search: chosen among finished trials, written into the folder, and as text."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from raysplit.errors import ConfigError
from raysplit.folders.search_dir import SearchDir
from raysplit.search.results import find_front, format_commands, format_front, format_trial, write_results
from tests.search.searches import make_search, make_trial

GOOD = make_trial(0, 0.9)
DOMINATED = make_trial(1, 0.8)
SMALL = make_trial(2, 0.85, objectives={"accuracy": 0.85, "bytes": 4, "seconds": 0.5}, recipe='{"name": "small"}')
STOPPED = make_trial(3, 0.99, state="stopped", epochs=1)
FAILED = make_trial(4, None, fault="planted")
TRIALS = [GOOD, DOMINATED, SMALL, STOPPED, FAILED]


def test_only_finished_trials_are_on_the_front(tmp_path):
    front = find_front(TRIALS, make_search(tmp_path))
    assert front.trials == (GOOD, SMALL) and front.knee in front.trials and "of the 2 on the front" in front.reason
    with pytest.raises(ConfigError, match="no trial has a number for every objective"):
        find_front([STOPPED, FAILED], make_search(tmp_path))


def test_results_replace_older_ones(tmp_path):
    folder, search = SearchDir.at(str(tmp_path / "s")), make_search(tmp_path)
    folder.claim(search)
    for trial in TRIALS:
        folder.write_trial(trial, search.objectives)
    folder.write_recipes([DOMINATED])
    assert write_results(folder).trials == (GOOD, SMALL)
    assert (tmp_path / "s" / "front.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(path.name for path in (tmp_path / "s" / "recipes").iterdir()) == ["0000.json", "0002.json"]
    assert (tmp_path / "s" / "recipes" / "0002.json").read_text() == SMALL.recipe
    table = pq.read_table(tmp_path / "s" / "trials.parquet").to_pylist()
    assert [row["accuracy"] for row in table] == [0.9, 0.8, 0.85, 0.99, None]
    assert table[0]["point.cut"] == "features.3" and table[0]["point.bits"] == "None" and "point" not in table[0]
    assert (tmp_path / "s" / "refused.json").read_text() == "[]"


def test_a_trial_as_a_line(tmp_path):
    search = make_search(tmp_path)
    assert format_trial(GOOD, search) == (
        "trial 0 finished after 2 epochs (cut features.3, bits None): accuracy 0.9, bytes 10, seconds 1"
    )
    assert format_trial(FAILED, search) == "trial 4 failed (cut features.3, bits None): planted"


def test_a_front_as_a_table(tmp_path):
    search = make_search(tmp_path)
    header, first, second = format_front(find_front(TRIALS, search), search).splitlines()
    assert header.split() == ["trial", "cut", "bits", "accuracy", "bytes", "seconds"]
    assert first.split()[:5] == ["0", "features.3", "–", "0.9000", "10.0"]
    assert sum("← knee" in line for line in (first, second)) == 1


def test_each_point_has_its_command(tmp_path):
    folder, search = SearchDir.at(str(tmp_path / "s")), make_search(tmp_path)
    folder.write("front/0000/manifest.json", b"{}")
    title, first, second = format_commands(find_front(TRIALS, search), search, folder).splitlines()
    assert title.startswith("front/ has their networks, ") and "export" in title
    assert first.strip() == f"serve run raysplit.serving.split:build family={tmp_path}/s/front/0000"
    assert second.strip() == f"python jobs/train_split.py --recipe {tmp_path}/s/recipes/0002.json"  # it kept none
