"""What all command lines share: a user's mistake is one clear line, without a traceback."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TypeAlias

from raysplit.errors import RaysplitError

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a verb of `raysplit` adds its parser."""


def run_command(main: Callable[[], object]) -> int:
    """Run an entry point and return the exit code: 0, 1 with `error: …` on stderr, or 130 after Ctrl-C.

    A KeyboardInterrupt whose text is a folder tells the user how to resume.

    >>> run_command(lambda: None)
    0
    """
    try:
        main()
    except RaysplitError as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        hint = f"; continue with --resume {stop}" if str(stop) else ""
        print(f"interrupted{hint}", file=sys.stderr)
        return 130
    return 0
