"""Searches over data whose columns, files and labels are named in the config."""

from __future__ import annotations

from raysplit.folders.reader import read_run
from raysplit.folders.search_dir import SearchDir
from raysplit.search.trial import find_fault, run_trial
from tests.own_data import write_own_digits
from tests.search.searches import make_search
from tests.train.recipes import squeezed_config


def test_a_trial_takes_them_and_its_record_on_the_front_says_so(tmp_path):
    recipe = squeezed_config().with_settings([*write_own_digits(tmp_path, held=False), "train.epochs=2"])
    search, folder = make_search(tmp_path, recipe=recipe), SearchDir.at(str(tmp_path / "s"))
    folder.claim(search)
    assert folder.config().recipe.data == recipe.data and find_fault(search, recipe) is None
    list(run_trial(search, 0, recipe, folder))
    record = read_run(str(tmp_path / "s/front/0000"))
    assert record.summary.test_from == "train"
    assert record.config.data == recipe.data and record.summary.classes[:2] == ("0", "10")
