"""The examples in docstrings and docs run, and every name of the package's face has one.

python -m tests.test_docstrings    lists the public functions and classes that have no example
"""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import raysplit

ROOT = Path(__file__).parent.parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FENCE = re.compile(r"^```(?:python|pycon)\n(.*?)^```$", re.M | re.S)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def sources() -> list[Path]:
    return sorted((ROOT / "raysplit").rglob("*.py"))


def run(tests: list[doctest.DocTest]) -> int:
    """Run examples, fail with doctest's own report, and return how many there were."""
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    report: list[str] = []
    for test in tests:
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)
    return runner.tries


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """Go to a folder with the results of tiny trainings on 8×8 digits, whose names examples use."""
    results = {
        "run": "split_runs/prune",
        "stopped_run": "split_runs/deprune_stopped",
        "family": "family",
        "build": "builds/vit",
    }
    for name, source in results.items():
        shutil.copytree(ROOT / "tests" / "assets" / "first_format" / source, tmp_path / name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("module", [module_name(path) for path in sources() if ">>> " in path.read_text()])
def test_the_examples_in_docstrings_run(module, workdir):
    assert run(doctest.DocTestFinder(exclude_empty=True).find(import_module(module), module))


@pytest.mark.parametrize("path", [path.name for path in ROOT.glob("docs/*.md") if ">>> " in path.read_text()])
def test_the_examples_in_the_docs_run(path, workdir):
    blocks = [block for block in FENCE.findall((ROOT / "docs" / path).read_text()) if ">>> " in block]
    page = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, path, path, 0)
    assert run([page]), f"{path} has examples outside of ```python blocks"


def has_example(thing: object) -> bool:
    """Return whether the docstring of a function or class, or of one of a class's own methods, has an example."""
    members = vars(thing).values() if inspect.isclass(thing) else ()
    texts = [getattr(member, "__doc__", None) for member in (thing, *members)]
    return any(">>> " in text for text in texts if isinstance(text, str))


@pytest.mark.parametrize("name", raysplit.__all__)
def test_a_name_of_the_package_has_an_example(name):
    assert has_example(getattr(raysplit, name)), f"raysplit.{name} has no `>>>` example in its docstring"


def without_example() -> Iterator[str]:
    """Yield the public functions and classes of the package that have no example, by their source alone."""
    for path in sources():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                documented = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
                if not any(">>> " in (ast.get_docstring(n) or "") for n in documented):
                    yield f"{module_name(path)}.{node.name}"


if __name__ == "__main__":
    print(*without_example(), sep="\n")
