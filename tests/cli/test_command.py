from __future__ import annotations

from raysplit.cli.command import command
from raysplit.errors import DataError


def test_exit_codes(capsys):
    def fail():
        raise DataError("row 3 is bad")

    def stop():
        raise KeyboardInterrupt("/runs/a")

    assert command(lambda: None) == 0
    assert command(fail) == 1
    assert command(stop) == 130
    assert capsys.readouterr().err.splitlines() == [
        "error: row 3 is bad",
        "interrupted; the run goes on from its last checkpoint with --resume /runs/a",
    ]
