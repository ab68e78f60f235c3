"""Which package may import which, and what runs without Ray or torch: docs/architecture.md, held against the code.

python -m tests.test_architecture    writes the last column of the document's table anew, from the code
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "raysplit"
EVERYWHERE = {"errors", "utils"}
"""What every package may import."""

ORDER = [
    *("errors", "utils", "records", "wire", "hardware", "schedules", "config", "torch_utils", "data", "models"),
    *("split", "compress", "folders", "report", "monitors", "train", "family", "privacy", "planner", "ensemble"),
    *("device", "join", "search", "serving", "containers", "recipes", "cli"),
]
"""A package imports only those before it."""

FORBIDDEN = {
    "data": {"models"},
    "models": {"data"},
    "split": {"data", "models"},
    "compress": {"data", "models", "split"},
    "report": {"torch_utils", "data", "models", "split", "compress"},
    "monitors": {"torch_utils", "data", "models", "split", "compress", "report"},
    "ensemble": {"compress", "train", "family", "planner"},
    "device": {"hardware", "split", "monitors", "train", "privacy", "planner", "ensemble", "report"},
    "join": {"family", "privacy", "planner", "ensemble", "report"},
    "search": {"family", "device", "join"},
    "serving": {"hardware", "split", "train", "privacy", "planner", "report", "device", "join", "search"},
    "containers": {"data", "models", "split", "train", "planner", "report", "device", "join", "search"},
}
"""Earlier packages that a package must still do without: each of these can be used, changed and tested alone."""

LIGHT = [
    *("raysplit", "errors", "utils", "records", "wire.level", "wire.split_api", "wire.gateway_api", "hardware"),
    *("schedules", "config", "recipes", "folders.reader", "report", "cli"),
]
"""What runs without torch: everything in a package, or one module."""

NEEDS_RAY = [
    *(
        "train.ray_device",
        "train.gateway_devices",
        "train.run_devices",
        "train.virtual_ray",
        "train.trainer",
        "ensemble.ray_runner",
    ),
    *("search.run", "search.state", "search.sampler", "search.space", "search.pareto_asha", "search.tune_driver"),
    *("search.tune_trial", "serving.split", "serving.gateway.application", "serving.http.telemetry"),
    *("serving.http.pipeline", "serving.check"),
    *(f"serving.ensemble.{name}" for name in ("application", "engine", "fan_out", "response", "routes", "telemetry")),
]
"""All that cannot be imported without Ray: everything in a package, or one module."""
NEEDS_COMPILER = ["compress.layer", "models.vit", "ensemble", "search.ensemble_trial"]
"""What may load torch's compiler, and timm with it, without Ray: seconds that no other process should take."""

DOCUMENT = ROOT / "docs" / "architecture.md"
ROW = re.compile(r"^(\| `(\w+)` \|.*\| )([^|\n]*)( \|)$", re.M)
"""A row of its table: package, what it holds, what it imports."""


def name_of(path: Path) -> str:
    """Return a file's module, without `raysplit.`: `train.loop`, and `train` for its `__init__`."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix("__init__").removesuffix(".") or "raysplit"


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path: Path) -> Iterator[str]:
    """Yield the modules of raysplit that a file imports, at its top or anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write whole module names"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "raysplit":
                yield module_of(name.partition(".")[2])


def module_of(name: str) -> str:
    """Return the module that an imported name is, or is in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or "raysplit"


IMPORTS = {name: set(imports_of(path)) for name, path in MODULES.items() if name not in ("raysplit", "__main__")}
"""The modules that each module imports. Left out: the package itself, which imports its names on first use, and the
command's entry point."""


def between(depth: int) -> dict[str, set[str]]:
    """Return the imports among packages (`depth` 1) or among them and their packages (2), without their own."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, others in IMPORTS.items():
        # What is in a package but not in a package of its own belongs to the package.
        own = group(name, depth)
        found[own] |= {group(other, depth) for other in others} - {own}
    return found


def group(name: str, depth: int) -> str:
    path = MODULES[name]
    folders = (path.parent if name != "raysplit" else PACKAGE).relative_to(PACKAGE).parts
    return ".".join(folders[:depth]) or name


PACKAGES = between(1)


def table() -> dict[str, set[str]]:
    """Return the packages in the table of docs/architecture.md, and what it says that each imports."""
    rows = ROW.findall(DOCUMENT.read_text())
    return {package: set(re.findall(r"\w+", imported)) for _, package, imported, _ in rows}


def test_every_package_has_its_place_in_the_order():
    assert set(ORDER) == set(PACKAGES)


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_only_earlier_ones(package):
    late = PACKAGES[package] - set(ORDER[: ORDER.index(package)])
    assert not late, f"{package} imports {late}: {where(package, late)}"


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_does_without_some_earlier_ones(package):
    assert set(ORDER) >= FORBIDDEN[package]
    found = PACKAGES[package] & FORBIDDEN[package]
    assert not found, where(package, found)


def where(package: str, targets: set[str]) -> list[str]:
    """Return the imports of some packages, for an error's text."""
    return [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in sorted(others)
        if group(name, 1) == package and group(other, 1) in targets
    ]


@pytest.mark.parametrize("graph", [IMPORTS, between(2)], ids=["files", "folders"])
def test_nothing_imports_in_a_circle(graph):
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as err:
        pytest.fail(" imports ".join(err.args[1]))


def test_what_runs_without_ray_timm_or_torch():
    """One fresh interpreter imports one module after the other; what it must do without, it cannot import."""
    assert all(name in MODULES for name in (*LIGHT, *NEEDS_RAY, *NEEDS_COMPILER))
    light = [name for name in MODULES if is_in(name, LIGHT)]
    others = [name for name in MODULES if not is_in(name, LIGHT) and not is_in(name, NEEDS_RAY)]
    others.sort(key=lambda name: is_in(name, NEEDS_COMPILER))
    lean = [name for name in others if not is_in(name, NEEDS_COMPILER)]
    stages = [
        (["raysplit"], "torch ray timm torchvision pyarrow matplotlib pydantic yaml numpy"),
        (light, "torch ray timm torchvision"),
        (lean, "ray timm torch._dynamo"),
        (others[len(lean) :], "ray"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", CHECK, repr(stages)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


def is_in(name: str, names: list[str]) -> bool:
    """Return whether a module is one of some modules, or in one of some packages."""
    return any(name == one or name.startswith(f"{one}.") for one in names)


CHECK = """
import ast, importlib, sys

class Forbid:
    def find_spec(self, name, *_):
        if name in self.names:
            raise ImportError(f"imports {name}")

forbid = Forbid()
sys.meta_path.insert(0, forbid)
for modules, names in ast.literal_eval(sys.argv[1]):
    forbid.names = names.split()
    for module in modules:
        try:
            importlib.import_module("raysplit" if module == "raysplit" else f"raysplit.{module}")
        except ImportError as err:
            print(module, err)
"""


def test_no_file_is_long():
    long = {name: n for name, path in MODULES.items() if (n := len(path.read_text().splitlines())) > 300}
    assert not long


def test_the_document_says_what_each_package_imports():
    assert list(table()) == ORDER
    assert table() == {package: PACKAGES[package] - EVERYWHERE for package in ORDER}


def test_the_document_names_files_that_exist():
    text = DOCUMENT.read_text()
    for name in re.findall(r"`([\w/]+(?:\.py|/))`", text):
        assert (ROOT / name).exists() or (PACKAGE / name).exists(), name
    picture = text.partition("```\n")[2].partition("```")[0]
    assert all(re.search(rf"\b{package}\b", picture) for package in ORDER), "the picture lacks a package"


def test_the_readme_lists_the_packages_in_this_order():
    tree = (ROOT / "README.md").read_text().partition("```\nraysplit/\n")[2].partition("\njobs/")[0]
    names = [Path(line.split()[0]).stem for line in tree.splitlines()]
    assert [name for name in names if name != "__main__"] == ORDER


def column(package: str) -> str:
    """Return what a package imports as the document's table has it."""
    return ", ".join(one for one in ORDER if one in PACKAGES[package] - EVERYWHERE) or "–"


if __name__ == "__main__":
    DOCUMENT.write_text(ROW.sub(lambda row: f"{row[1]}{column(row[2])}{row[4]}", DOCUMENT.read_text()))
