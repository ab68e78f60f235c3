"""Wrong arguments of commands and jobs: one line of error that names them, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysplit.cli.command import run_command
from raysplit.cli.main import main
from tests.jobs.conftest import load_job

ROOT = Path(__file__).parents[2]
SPLIT = ["train_split", "--recipe", "mnist5k_vgg11_deprune", "--dry-run", "--set"]
ENSEMBLE = ["build_ensemble", "--recipe", "mnist5k_vit_n3", "--dry-run"]
SEARCH = ["search", "--recipe", "cifar10_vgg11_fixed", "--space", "tune_spaces.cut_and_level"]
FILES = {
    "loop.yaml": "&a [*a]",
    "twice.yaml": "- {name: a, memory_mib: 1, gflops_per_s: 1, memory_mib: 2}",
    "flag.yaml": "- {name: a, memory_mib: true, gflops_per_s: 1}",
    "raises.py": "def param_space(base): raise KeyError(1)",
    "twice.json": '{"name": "a", "name": "b"}',
}


@pytest.fixture
def fail(tmp_path, monkeypatch, capsys):
    """Run a command or a job in the repository, files in a folder `@`; return its one line of error."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("raysplit.utils.progress.show_progress", lambda: None)  # for the rest of the process
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    def run(name: str, *words: str) -> str:
        words = tuple(word.replace("@", str(tmp_path)) for word in words)
        job = name != "raysplit"
        code = run_command(lambda: load_job(name).main(list(words))) if job else main(list(words))
        out, err = capsys.readouterr()
        assert code == 1 and out == "" and err.startswith("error: ") and err.count("\n") == 1
        return err.removeprefix("error: ")

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*SPLIT, "train.epochs=1e9"], "train.epochs: Input should be less than or equal to 100000"),
        ([*SPLIT, "train.epochs=true"], "train: epochs: expected a number (got True)"),
        ([*SPLIT, "train.lr=no"], "train: lr: expected a number (got False)"),
        ([*SPLIT, "data.train_rows=on"], "data: train_rows: expected a number (got True)"),
        ([*SPLIT, "train.lr=.nan"], "train.lr: Input should be a finite number"),
        ([*SPLIT, "train.threads=100000"], "train.threads: Input should be less than or equal to 1024"),
        ([*SPLIT, "data.size=1000000"], "data.size: Input should be less than or equal to 8192"),
        ([*SPLIT, "bottleneck={mode: paper, mode: raysplit}"], "the key 'mode' is there twice; leave one out"),
        ([*SPLIT, "train.batch_size=5000"], "training rows do not fill a batch of 5000; lower train.batch_size"),
        ([*SPLIT, "cut=features.77"], "cut 'features.77' is not a cut of vgg11. Nearest"),
        ([*SPLIT, "train.epoch=3"], "unknown key 'epoch' in train (setting train.epoch). Nearest: epochs"),
        (["train_split", "--recipe", "@/twice.json"], "twice.json: the key 'name' is there twice; leave one out"),
        (["train_split", "--resume", ""], "is not a run directory"),
        (["train_split", "--resume", "@/twice.json"], "is not a run directory"),
        (["build_ensemble", "--resume", ""], "is not a build's folder"),
        ([*ENSEMBLE, "--devices", "@/loop.yaml"], "loop.yaml is not YAML: an alias is part of what it stands for"),
        ([*ENSEMBLE, "--devices", "@/twice.yaml"], "twice.yaml is not YAML: the key 'memory_mib' is there twice"),
        ([*ENSEMBLE, "--devices", "@/flag.yaml"], "flag.yaml: devices.0: memory_mib: expected a number (got True)"),
        ([*ENSEMBLE, "--devices", "@"], "cannot be read: Is a directory; give the path of a YAML file"),
        ([*ENSEMBLE, "--set", "groups.n=99"], "10 classes cannot be split into 99 groups; set groups.n to 1..10"),
        (["search", "--resume", ""], "is not a search's folder"),
        ([*SEARCH, "--seed", "-1"], "the search: seed: Input should be greater than or equal to 0"),
        ([*SEARCH, "--concurrent", "0"], "--concurrent must be at least 1, got 0"),
        ([*SEARCH, "--max-loss", "nan"], "the search: max_loss: Input should be a finite number"),
        (
            ["search", "--recipe", "cifar10_vgg11_fixed", "--space", "@/raises.py", "--out", "@/out"],
            "raises.py' cannot be constructed: KeyError: 1",
        ),
        (["raysplit", "profile", "vgg11", "--input", "³x32x32"], "--input '³x32x32' is not a shape"),
        (["raysplit", "profile", "vgg11", "--input", "3x32x32", "--classes", "0"], "--classes must be at least 1"),
        (["raysplit", "plan", "vgg11", "--input", "³x32x32"], "--input '³x32x32' is not a shape"),
        (["raysplit", "plan", "vgg11", "--size", "4"], "--data and --size: size: Input should be greater than or"),
        (["raysplit", "report", "s4://x/y"], "'s4://x/y' is not a path or URI that pyarrow can open"),
    ],
)
def test_one_line_names_it(fail, words, message):
    assert message in fail(*words)
