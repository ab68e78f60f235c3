"""A search's folder: whose it is, its trials, and files that are damaged."""

from __future__ import annotations

import pytest

from raysplit.errors import ConfigError
from raysplit.folders.search_dir import SearchDir
from tests.search.searches import make_search, make_trial


def test_a_folder_belongs_to_one_search(tmp_path):
    folder, search = SearchDir.at(str(tmp_path / "s")), make_search(tmp_path)
    with pytest.raises(ConfigError, match="is not a search's folder: it has no search.json"):
        folder.config()
    folder.claim(search)
    folder.claim(search)
    assert folder.config() == search
    with pytest.raises(ConfigError, match="holds another search; give each its own folder, or use --resume"):
        folder.claim(make_search(tmp_path, seed=1))


def test_trials_are_read_in_the_order_in_which_they_began(tmp_path):
    folder = SearchDir.at(str(tmp_path))
    trials = [make_trial(10, 0.5), make_trial(2, None, fault="planted"), make_trial(0, 0.9)]
    for trial in trials:
        folder.write_trial(trial, ("accuracy", "bytes", "seconds"))
    assert folder.trials() == trials[::-1]
    assert folder.recipe_file(trials[1]) == f"{tmp_path}/recipes/0002.json"


@pytest.mark.parametrize(("text", "message"), [("{", "JSONDecodeError"), ("[]", "Error"), ("{}", "number: Field requ")])
def test_a_damaged_trial_is_named(tmp_path, text, message):
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "0000.json").write_text(text)
    with pytest.raises(ConfigError, match=f"trials/0000.json is not a trial's record: .*{message}"):
        SearchDir.at(str(tmp_path)).trials()
