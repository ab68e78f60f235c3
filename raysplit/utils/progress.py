"""Where progress goes: the library logs it, and a job, a worker or a run without other logging shows it."""

from __future__ import annotations

import logging
import sys


def show_progress() -> None:
    """Print what raysplit logs at level INFO or above on stdout, a plain line each; a second call changes nothing.

    Without it the application's own logging decides what is shown.
    """
    logger = logging.getLogger("raysplit")
    if not any(isinstance(handler, _StdoutHandler) for handler in logger.handlers):
        logger.addHandler(_StdoutHandler())
    logger.setLevel(logging.INFO)
    logger.propagate = False  # Ray's handlers of the root logger would print each line again


def show_progress_by_default() -> None:
    """Show progress, unless the application has said by its own logging what is shown."""
    if not logging.getLogger("raysplit").hasHandlers():
        show_progress()


class _StdoutHandler(logging.Handler):
    """Writes to whatever `sys.stdout` is at the time; Ray passes a worker's lines on to the driver.

    Not by `print`, whose text Ray Train logs once more.
    """

    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(self.format(record) + "\n")
        sys.stdout.flush()
