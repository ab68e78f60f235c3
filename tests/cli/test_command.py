from __future__ import annotations

from raysplit.cli.command import run_command
from raysplit.errors import DataError


def test_exit_codes(capsys):
    def fail():
        raise DataError("row 3 is bad")

    def stop():
        raise KeyboardInterrupt("/runs/a")

    assert run_command(lambda: None) == 0
    assert run_command(fail) == 1
    assert run_command(stop) == 130
    assert capsys.readouterr().err.splitlines() == [
        "error: row 3 is bad",
        "interrupted; continue with --resume /runs/a",
    ]
