"""Jobs in this process: loaded by path, and run with arguments."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from raysplit.cli.command import run_command

JOBS = Path(__file__).parents[2] / "jobs"


@dataclass(frozen=True)
class JobResult:
    """What a job that has ended left on the terminal."""

    code: int
    out: str
    err: str


def load_job(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"raysplit_job_{name}", JOBS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_job(capsys) -> Callable[..., JobResult]:
    """Run a job, by name, to its end."""

    def run(name: str, *words: object) -> JobResult:
        code = run_command(lambda: load_job(name).main(list(map(str, words))))
        return JobResult(code, *capsys.readouterr())

    return run


@pytest.fixture
def fail_job(run_job) -> Callable[..., str]:
    """Run a job that must fail without output; return its one line of error."""

    def run(name: str, *words: object) -> str:
        done = run_job(name, *words)
        assert done.code == 1 and done.out == ""
        assert done.err.startswith("error: ") and done.err.count("\n") == 1
        return done.err

    return run
