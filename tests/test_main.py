"""python -m raysplit is the raysplit command."""

from __future__ import annotations

import runpy
import sys

import pytest

import raysplit


def test_the_package_runs_as_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["raysplit", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("raysplit", run_name="__main__")
    assert not end.value.code and raysplit.__version__ in capsys.readouterr().out
