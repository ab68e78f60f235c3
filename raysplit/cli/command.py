"""What all command lines share: a user's mistake is one clear line, without a traceback."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from typing import TypeAlias

from raysplit.errors import RaysplitError
from raysplit.utils.interrupts import Interrupts

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a verb of `raysplit` adds its parser."""


def run_command(main: Callable[[], object]) -> int:
    """Run an entry point and return the exit code: 0, 1 with `error: …` on stderr, or 130 after Ctrl-C.

    A Ctrl-C is not lost, whatever becomes of the exception on its way. A KeyboardInterrupt whose text is the folder of
    a run, a search or a build tells the user how to resume, once the folder holds a config to resume from.

    >>> run_command(lambda: None)
    0
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no text of this encoding
    try:
        with Interrupts():
            main()
    except RaysplitError as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        hint = f"; continue with --resume {stop}" if _can_resume(str(stop)) else ""
        print(f"interrupted{hint}", file=sys.stderr)
        return 130
    return 0


def _can_resume(location: str) -> bool:
    from raysplit.utils.storage import Folder  # imports pyarrow

    folder = Folder.at(location)
    return bool(location) and (folder.has("config.json") or folder.has("search.json"))
