from __future__ import annotations

import pytest

from raysplit.cli.command import run_command
from raysplit.errors import DataError


@pytest.mark.parametrize("record", [None, "config.json", "search.json"])
def test_exit_codes(capsys, tmp_path, record):
    """How to resume is said where something can be resumed."""
    if record is not None:
        (tmp_path / record).write_text("{}")

    def fail():
        raise DataError("row 3 is bad")

    def stop():
        raise KeyboardInterrupt(str(tmp_path))

    assert run_command(lambda: None) == 0
    assert run_command(fail) == 1
    assert run_command(stop) == 130
    assert capsys.readouterr().err.splitlines() == [
        "error: row 3 is bad",
        f"interrupted; continue with --resume {tmp_path}" if record else "interrupted",
    ]
