"""Ctrl-C that is never lost, although code in between drops the exception or replaces the handler."""

from __future__ import annotations

import signal
import socket
import threading
from types import TracebackType


class Interrupts:
    """Remembers each SIGINT while the context is open; its end raises KeyboardInterrupt where it was dropped.

    Python drops an exception that is raised in a destructor or in a callback from C: a Ctrl-C that arrives while Ray
    runs one is lost. And Ray Train and Ray Tune have handlers of their own that may end without an error. Outside the
    main thread, which has the handlers, nothing is remembered.

    Args:
        text: of the KeyboardInterrupt, also of one without a text: the folder to resume.

    >>> with Interrupts("runs/one") as interrupts:
    ...     interrupts.check()  # raises too, as soon as it is called
    """

    def __init__(self, text: str = ""):
        self._text = text
        self._pipe: tuple[socket.socket, socket.socket] | None = None
        self._seen = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._pipe = socket.socketpair()
            for end in self._pipe:
                end.setblocking(False)
            # Python writes each signal's number there, whatever handler it has.
            self._before = signal.set_wakeup_fd(self._pipe[1].fileno(), warn_on_full_buffer=False)
        return self

    def __getstate__(self) -> dict[str, object]:
        # Ray Tune pickles what it is given; a copy elsewhere has no signals to remember.
        return {"_text": self._text, "_pipe": None, "_seen": False}

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was a SIGINT."""
        if self._pipe is not None and not self._seen:
            try:
                self._seen = signal.SIGINT in self._pipe[0].recv(4096)
            except BlockingIOError:
                return
        if self._seen:
            raise KeyboardInterrupt(self._text)

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, _: TracebackType | None) -> None:
        try:
            if self._pipe is not None:
                signal.set_wakeup_fd(self._before, warn_on_full_buffer=False)
            if not isinstance(err, KeyboardInterrupt):
                self.check()
            elif not str(err):
                raise KeyboardInterrupt(self._text) from None
        except KeyboardInterrupt as stop:  # or a signal that arrives here
            if str(stop) or not self._text:
                raise
            raise KeyboardInterrupt(self._text) from None
        finally:
            for end in self._pipe or ():
                end.close()
