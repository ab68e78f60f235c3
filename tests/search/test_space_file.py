from __future__ import annotations

import pytest

from raysplit.errors import ConfigError
from raysplit.search.space_file import find_space_file


def test_a_file_by_path_and_by_module_name(tmp_path, monkeypatch):
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "mine.py").write_text("raise ValueError  # it is not run")
    monkeypatch.chdir(tmp_path)
    assert find_space_file("spaces.mine") == find_space_file("spaces/mine.py") == "spaces/mine.py"


@pytest.mark.parametrize("name", ["spaces.nope", "spaces/nope.py"])
def test_a_file_that_does_not_exist(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=rf"^space '{name}': there is no file spaces/nope.py in the working directory"
    ):
        find_space_file(name)
