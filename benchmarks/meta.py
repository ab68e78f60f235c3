"""What every result says about how it came to be."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def meta(seeds: list[int]) -> dict[str, Any]:
    """Return command, commit, machine, versions, threads and seeds of this run.

    Results that are not committed yet are no changes of the code. Of files and folders outside the repository, the
    command has the name alone.
    """
    changes = _git("status", "--porcelain", "--", ".", ":(exclude)benchmarks/results")
    return {
        "command": shlex.join(["python", os.path.relpath(sys.argv[0], ROOT), *map(without_folders, sys.argv[1:])]),
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+changes" if changes else ""),
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {platform.system()}",
        "versions": {name: version(name) for name in ("raysplit", "torch", "torchvision", "ray", "numpy", "pyarrow")}
        | {"python": platform.python_version()},
        "threads": torch.get_num_threads(),
        "seeds": seeds,
    }


def without_folders(word: str) -> str:
    """Return a word of a command with the name alone of the absolute path that it is, or has behind a colon.

    >>> without_folders("parquet:/data/cifar10"), without_folders("/bundles/b"), without_folders("parquet:data/cifar10")
    ('parquet:cifar10', 'b', 'parquet:data/cifar10')
    """
    kind, colon, path = word.rpartition(":")
    return f"{kind}{colon}{Path(path).name}" if path.startswith("/") else word


def save(name: str, result: dict[str, Any], folder: Path = RESULTS) -> None:
    """Write a result to `benchmarks/results/NAME.json`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.json.{os.getpid()}.part"
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(folder / f"{name}.json")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
