"""What a joined device shows of its run: one line that is written anew, or a line for each epoch in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from raysplit.train import remote_calls as calls
from raysplit.wire.gateway_api import Letter

_EVERY_S = 0.5


class Progress:
    """Writes the progress of a device.

    >>> import io
    >>> shown = Progress("kitchen", out := io.StringIO())
    >>> shown.begin(None)
    >>> out.getvalue()
    'kitchen: waiting for a run\\n'
    """

    def __init__(self, name: str, out: TextIO | None = None):
        self._name, self._out = name, out or sys.stdout
        self._live = self._out.isatty()
        self._doing, self._shown_at = "", 0.0
        self._answers = self._up = self._down = 0

    def begin(self, session: str | None) -> None:
        """A session has begun, or ended without another."""
        self._say("waiting for a run" if session is None else "a run has begun")

    def show(self, call: calls.DeviceCall) -> None:
        """The device begins to work on a call."""
        match call:
            case calls.Setup():
                self._say("building the half")
            case calls.BeginEpoch():
                self._say(f"epoch {call.epoch + 1} at {call.decision.level}")
            case calls.Evaluate() | calls.EvaluateAlone() if call.index == 0:
                self._doing = f"{self._doing.partition(',')[0]}, evaluating"

    def count(self, call: Letter, answer: Letter) -> None:
        """A call has been answered."""
        self._answers += 1
        self._down += call.size
        self._up += answer.size
        if self._live and time.monotonic() - self._shown_at > _EVERY_S:
            self._write(f"\r{self._line()}\x1b[K")

    def _say(self, doing: str) -> None:
        self._doing = doing
        self._write(f"\r{self._line()}\x1b[K" if self._live else f"{self._line()}\n")

    def _line(self) -> str:
        traffic = f", {self._answers:,} calls, {self._up / 1e6:,.1f} MB up, {self._down / 1e6:,.1f} MB down"
        return f"{self._name}: {self._doing}{traffic if self._answers else ''}"

    def _write(self, text: str) -> None:
        self._shown_at = time.monotonic()
        self._out.write(text)
        self._out.flush()
