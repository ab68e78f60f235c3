"""What a search refuses before Ray starts; whole searches run in tests/jobs/test_search.py."""

from __future__ import annotations

import pytest

from raysplit.errors import ConfigError
from raysplit.folders.search_dir import SearchDir
from raysplit.search.run import run_search
from tests.search.searches import make_search


def test_another_search_in_the_folder_is_left_alone(tmp_path):
    folder = SearchDir.at(str(tmp_path / "s"))
    folder.claim(make_search(tmp_path))
    with pytest.raises(ConfigError, match="holds another search"):
        run_search(make_search(tmp_path, seed=1), folder)
