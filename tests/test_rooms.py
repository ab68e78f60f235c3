"""What a room may import (docs: README, "What is in here")."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "raysplit"
ORDER = [
    *("errors", "storage", "ray_train", "bundle", "members", "config", "link", "userfile", "data", "models", "split"),
    *("compress", "fit", "prices", "train", "family", "export", "device", "ensemble", "report", "search", "serving"),
    *("preview", "show"),
]
"""Later rooms may import earlier ones. recipes, command, job and cli stand above all."""
WITHOUT_RAY = [
    *("bundle", "data", "models", "split", "compress", "train.loop", "train.local", "family", "report", "recipes"),
    *("prices", "device", "ensemble.build", "show", "search.plan"),
    *("serving.protocol", "serving.images", "serving.body", "serving.access"),
]
STRANGERS = {
    "bundle": {"members"},
    "members": {"storage", "bundle"},
    "link": {"config"},
    "report": {"models", "split", "compress", "train", "family", "device", "ensemble"},
    "ensemble": {"compress", "train", "family", "device", "prices", "members", "link"},
    "device": {"train", "prices", "link", "split"},
    "search": {"family", "device"},
    "serving": {"train", "search", "report", "prices", "split", "link"},
    "data": {"models"},
    "models": {"data"},
    "split": {"compress", "models"},
    "compress": {"data", "models", "split"},
}


def imports(path: Path) -> set[str]:
    """Return the rooms that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("raysplit."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("raysplit.")}
    return names


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_rooms_above_it(room):
    files = [*(PACKAGE / room).glob("*.py"), *PACKAGE.glob(f"{room}.py")]
    assert files
    allowed = set(ORDER[: ORDER.index(room) + 1]) - STRANGERS.get(room, set())
    for path in files:
        assert imports(path) <= allowed, path


def test_the_readme_lists_the_rooms_in_this_order():
    tree = (PACKAGE.parent / "README.md").read_text().partition("```\nraysplit/\n")[2].partition("\njobs/")[0]
    listed = [Path(word).stem for line in tree.splitlines() for word in line.split()[:1]]
    assert listed == [*ORDER, "recipes", "cli"]


@pytest.mark.parametrize("module", WITHOUT_RAY)
def test_runs_without_ray(module):
    code = f"import raysplit.{module}, sys; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_file_is_long():
    long = {str(path): n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 300}
    assert not long
