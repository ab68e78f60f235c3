"""The README: its commands exist, its tree is true."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from raysplit import recipes
from raysplit.cli.main import main

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.S)
COMMANDS = [
    line.split("#")[0].strip() for kind, block in BLOCKS if not kind for line in block.replace("\\\n", " ").splitlines()
]
CALLS = [c for c in COMMANDS if c.startswith(("python ", "raysplit ", "make ", "ray job submit"))]


def test_there_are_commands():
    assert {"make demo", "make test"} <= set(CALLS) and len(CALLS) > 7


@pytest.mark.parametrize("call", [c for c in CALLS if "python " in c])
def test_scripts_and_recipes_exist(call):
    words = shlex.split(call.replace("[", "").replace("]", ""))
    script = next(word for word in words if word.endswith(".py"))
    assert (ROOT / script).exists()
    if "--recipe" in words and not words[words.index("--recipe") + 1].endswith(".json"):
        settings = words[words.index("--set") + 1 :] if "--set" in words else []
        get = recipes.get_ensemble if "build_ensemble" in script else recipes.get
        assert get(words[words.index("--recipe") + 1]).with_settings(settings)
    source = (ROOT / script).read_text()
    assert all(word in source for word in words if word.startswith("--") and word not in ("--working-dir", "--"))


@pytest.mark.parametrize("call", [c for c in CALLS if c.startswith("raysplit profile")])
def test_profile_lines_run(call, capsys):
    assert main(shlex.split(call)[1:]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("target", ["demo", "test", "check"])
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_the_python_lines_name_real_things():
    import raysplit

    code = next(block for kind, block in BLOCKS if kind == "python")
    for name in re.findall(r"from raysplit import (.*)", code)[0].split(", "):
        assert getattr(raysplit, name)


def test_the_file_tree_is_true():
    tree = next(block for kind, block in BLOCKS if block.startswith("raysplit/"))
    rooms = {word for line in tree.splitlines() for word in line.split() if re.fullmatch(r"\w+(/|\.py)", word)}
    real = {f"{path.name}/" for path in (ROOT / "raysplit").iterdir() if path.is_dir() and path.name != "__pycache__"}
    real |= {path.name for path in (ROOT / "raysplit").glob("*.py") if path.name != "__init__.py"}
    assert real <= rooms and rooms - real - {"raysplit/"} == {
        "jobs/",
        "tune_spaces/",
        "notebooks/",
        "serve_configs/",
        "benchmarks/",
        "docker/",
        "docs/",
        "examples/",
        "tests/",
    }
