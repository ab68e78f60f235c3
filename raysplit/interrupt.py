"""Ctrl-C while Ray Train runs: told as what it is, with the folder to go on from."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def resumable(location: str) -> Iterator[None]:
    """Raise KeyboardInterrupt with a folder where Ray Train, at Ctrl-C, would end the process.

    Its handler, which it leaves behind, is taken away again, so that a later Ctrl-C is one.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt(location) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
