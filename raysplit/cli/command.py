"""What every command line does alike: one clear line for a user's mistake, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from raysplit.errors import RaysplitError


def command(main: Callable[[], object]) -> int:
    """Run an entry point; return the exit code: 0, 1 with `error: …` on stderr, or 130 after Ctrl-C."""
    try:
        main()
    except RaysplitError as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        hint = f"; the run goes on from its last checkpoint with --resume {stop}" if str(stop) else ""
        print(f"interrupted{hint}", file=sys.stderr)
        return 130
    return 0
