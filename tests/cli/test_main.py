"""The `raysplit` command as a whole: its help, and what it imports."""

from __future__ import annotations

import re

import pytest

from raysplit.cli.main import main

VERBS = ["profile", "plan", "calibrate", "report", "inspect", "predict", "device", "export", "check", "kuberay"]


def test_the_help_has_a_line_for_each_verb(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert re.findall(r"^    (\w+)\s+\w", capsys.readouterr().out, re.M) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_a_help(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0 and f"usage: raysplit {verb}" in capsys.readouterr().out


def test_a_verb_is_needed(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2 and "COMMAND" in capsys.readouterr().err
