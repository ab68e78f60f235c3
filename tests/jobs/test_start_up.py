"""A typo is answered before anything heavy is imported: modules are counted, not seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("ray", "torch", "timm", "torchvision", "pyarrow", "matplotlib", "numpy", "pandas", "PIL", "optuna")
TRAINING = ("--set", "train.epoch=3")
CALLS = [
    ("train_split", ["--help"], 0, "usage: "),
    ("train_split", ["--recipe", "nope"], 1, "no recipe is called 'nope'"),
    ("train_split", ["--recipe", "mnist5k_vgg11_deprune", *TRAINING], 1, "unknown key 'epoch' in train"),
    ("train_split", ["--resume", "/nowhere", *TRAINING], 1, "leave out --set"),
    ("prune_family", ["--help"], 0, "usage: "),
    ("prune_family", ["--recipe", "nope"], 1, "no recipe is called 'nope'"),
    ("build_ensemble", ["--help"], 0, "usage: "),
    ("build_ensemble", ["--recipe", "mnist5k_vgg11_deprune"], 1, "is for jobs/train_split.py"),
    ("build_ensemble", ["--recipe", "mnist5k_vit_n3", "--set", "groups.m=2"], 1, "unknown key 'm'"),
    ("build_ensemble", ["--recipe", "mnist5k_vit_n3", "--devices", "/nowhere.yaml"], 1, "/nowhere.yaml"),
    ("search", ["--help"], 0, "usage: "),
    ("search", ["--recipe", "nope", "--space", "tune_spaces.ensemble"], 1, "no recipe is called 'nope'"),
    ("search", ["--recipe", "mnist5k_vit_n3", "--space", "tune_spaces.nope"], 1, "there is no file"),
    ("search", ["--recipe", "mnist5k_vit_n3", "--space", "tune_spaces.ensemble", "--link", "wify"], 1, "Nearest: wifi"),
    ("demo", ["--help"], 0, "usage: "),
    ("demo", [*TRAINING], 1, "unknown key 'epoch' in train"),
    ("prepare_data", ["--help"], 0, "usage: "),
    ("prepare_data", ["--data", "cifar10", "--out", "x", "--size", "2"], 1, "size: Input should be"),
]
"""Job, arguments, exit code, and what is printed."""

SCRIPT = """
import contextlib, io, json, runpy, sys

def run(call):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            code = call()
        except SystemExit as stop:
            code = stop.code
    return [code, text.getvalue()]

from raysplit.cli.main import main
results = [run(lambda: main(["--help"]))]
command = sorted(sys.modules)
from raysplit.cli.command import run_command
for job, words in json.loads(sys.argv[1]):
    job_main = runpy.run_path(f"jobs/{job}.py")["main"]
    results.append(run(lambda: run_command(lambda: job_main(words))))
print(json.dumps({"results": results, "command": command, "jobs": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def started():
    """Run the command's help, then all calls of jobs, in one process; return results and imported modules."""
    calls = json.dumps([call[:2] for call in CALLS])
    done = subprocess.run([sys.executable, "-c", SCRIPT, calls], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_call_is_answered(started):
    (code, text), *results = started["results"]
    assert code == 0 and "usage: raysplit" in text
    for call, (code, text) in zip(CALLS, results, strict=True):
        assert code == call[2] and call[3] in text, (call, text)


@pytest.mark.parametrize(("stage", "bound"), [("command", 200), ("jobs", 400)])
def test_nothing_heavy_is_imported(started, stage, bound):
    modules = started[stage]
    assert not {name.partition(".")[0] for name in modules} & set(HEAVY)
    assert len(modules) < bound
