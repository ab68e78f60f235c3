"""A Ctrl-C while sub-models are made side by side ends the build, whatever becomes of the exception; without Ray."""

from __future__ import annotations

import contextlib
import signal

import pytest
import ray

from raysplit.cli.command import run_command
from raysplit.ensemble.ray_runner import RayRunner

_TASKS = 3


class Cluster:
    """Tasks that end one at a time; the interrupt comes at the given call of Ray's."""

    def __init__(self, at: str, dropped: bool):
        self.at, self.dropped = at, dropped
        self.cancelled: list[object] = []

    def interrupt(self, place: str) -> None:
        if place == self.at:
            self.at = ""
            with contextlib.suppress(KeyboardInterrupt) if self.dropped else contextlib.nullcontext():
                signal.raise_signal(signal.SIGINT)

    def remote(self, task, index):
        self.interrupt(f"start {index}")
        return index

    def wait(self, references, timeout=None):
        self.interrupt(f"wait {_TASKS - len(references)}")
        return references[:1], references[1:]

    def get(self, reference):
        self.interrupt(f"get {reference}")

    def cancel(self, reference, force):
        assert force
        self.cancelled.append(reference)


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize(
    "at", [f"{what} {number}" for what in ("start", "wait", "get", "log") for number in range(_TASKS)]
)
def test_at_any_point(monkeypatch, capsys, at, dropped):
    cluster, done = Cluster(at, dropped), []
    monkeypatch.setattr("raysplit.ensemble.ray_runner._call", cluster)
    monkeypatch.setattr("raysplit.ensemble.ray_runner._count", lambda _: 0)
    for name in ("wait", "get", "cancel"):
        monkeypatch.setattr(ray, name, getattr(cluster, name))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)

    def log(line):
        done.append(line)
        cluster.interrupt(f"log {len(done) - 1}")

    assert run_command(lambda: RayRunner().run_each(print, range(_TASKS), str, log)) == 130
    assert capsys.readouterr().err == "interrupted\n"
    if at.startswith("wait") and not dropped:
        assert len(done) == int(at[-1]) and len(cluster.cancelled) == _TASKS - len(done)
