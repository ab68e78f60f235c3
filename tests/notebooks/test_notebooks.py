"""The notebooks: each runs to its end, on small settings and at full length, and is saved as one whole run left it."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
SMALL = {"split_training": {"EPOCHS": 2, "ROWS": 300, "WIDTH": 0.125}}
"""What the parameters cell of a notebook is replaced with outside of the slow lane, which runs all of them whole."""
STARTS_RAY = {"sweep"}
A_PATH = re.compile(r"(?<![\w.])/(tmp|root|home|Users|var)\b|file://")


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """Return every source and every output that is text; PNG data could hold any letters."""
    found = [cell.source for cell in notebook.cells]
    for output in outputs(notebook):
        data = output.get("data", {})
        found += [output.get("text", ""), *(text for kind, text in data.items() if kind.startswith("text/"))]
    return found


RUNS = [pytest.param(name, marks=[pytest.mark.ray] if name in STARTS_RAY else []) for name in NOTEBOOKS]


@pytest.mark.parametrize("name", SMALL)
def test_it_runs_on_small_settings(name, tmp_path):
    notebook = read(name)
    (parameters,) = (cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", []))
    names = re.findall(r"^(\w+) = ", parameters.source, re.M)
    assert names == list(SMALL[name]), "small settings and the parameters cell name different things"
    parameters.source = "\n".join(f"{key} = {value!r}" for key, value in SMALL[name].items())
    execute(notebook, tmp_path, timeout=600)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_it_runs_at_full_length(name, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")  # on all cores, as a user runs it
    execute(read(name), tmp_path, timeout=1800)


def execute(notebook: nbformat.NotebookNode, folder: Path, timeout: float) -> None:
    """Run all cells in a fresh kernel in a folder, each within `timeout` seconds; there must be pictures then."""
    for cell in code_cells(notebook):
        cell.outputs = []
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources=resources).execute()
    assert pictures(notebook)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_saved_as_one_whole_run_left_it(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert pictures(notebook)
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
    for text in texts(notebook):
        assert not A_PATH.search(text) and str(FOLDER.parent) not in text, text
