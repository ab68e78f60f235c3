"""Where the heavy stages of a build run: an interface, and this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from raysplit.ensemble.base_classifier import train_base
from raysplit.ensemble.context import BuildContext

Log = Callable[[str], None]
"""Gets progress, a line at a time."""


class Runner(Protocol):
    """Runs the heavy stages of a build."""

    def train_base(self, context: BuildContext, log: Log) -> None:
        """Call `base_classifier.train_base` in as many processes as the config says."""
        ...

    def run_each(
        self, task: Callable[[int], None], indices: Iterable[int], describe: Callable[[int], str], log: Log
    ) -> None:
        """Call a task, which can be pickled, for each index, in any order; `describe` names what it makes."""
        ...


class LocalRunner:
    """Runs everything in this process, one after the other."""

    def train_base(self, context: BuildContext, log: Log) -> None:
        train_base(context, log)

    def run_each(
        self, task: Callable[[int], None], indices: Iterable[int], describe: Callable[[int], str], log: Log
    ) -> None:
        for index in indices:
            task(index)
            log(f"{describe(index)} is done")
