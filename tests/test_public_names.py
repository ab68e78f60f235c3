"""What `import raysplit` shows."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

import raysplit

ROOT = Path(__file__).parent.parent


def test_the_three_lists_of_names_agree():
    tree = ast.parse(Path(raysplit.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {name: tuple(home.split(":")) for name, home in raysplit._HOMES.items()}
    assert typed == {name: home if len(home) == 2 else (*home, name) for name, home in homes.items()}
    assert sorted(typed) == sorted(raysplit.__all__)


@pytest.mark.parametrize("name", raysplit.__all__)
def test_a_name_is_there_and_documented(name):
    assert getattr(raysplit, name).__doc__


def test_the_reference_lists_every_name():
    page = (ROOT / "docs" / "api" / "index.md").read_text()
    assert set(re.findall(r"\[`(\w+)`\]", page)) == set(raysplit.__all__)


def test_dir_lists_the_names_and_the_version():
    assert set(dir(raysplit)) == {*raysplit.__all__, "__version__"}
    declared = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert declared and raysplit.__version__ == declared[1]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'raysplit' has no attribute 'train_remote'"):
        _ = raysplit.train_remote
    assert not hasattr(raysplit, "__wrapped__")


def test_data_files_are_shipped():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    shipped = [f"{package.replace('.', '/')}/{glob}" for package, globs in settings.items() for glob in globs]
    files = [path for path in (ROOT / "raysplit").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert (ROOT / "raysplit" / "py.typed") in files
    for path in files:
        assert any(fnmatch(str(path.relative_to(ROOT)), glob) for glob in shipped), path
