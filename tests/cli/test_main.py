"""The `raysplit` command as a whole: its help, and what it imports."""

from __future__ import annotations

import re
import runpy

import pytest

import raysplit
from raysplit import recipes
from raysplit.cli.main import main

VERBS = [
    "recipes",
    "profile",
    "plan",
    "calibrate",
    "report",
    "leak",
    "inspect",
    "predict",
    "device",
    "join",
    "key",
    "export",
    "check",
    "image",
    "compose",
    "kuberay",
]


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


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"raysplit {raysplit.__version__}\n"


def test_the_recipes_are_listed_with_a_line_each(capsys):
    assert main(["recipes"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "recipe"
    assert [line.split()[0] for line in lines] == [*recipes.names(), *recipes.ensemble_names()]
    assert all(re.search(r" on \w+.*\d epochs$", line) for line in lines)


def test_a_verb_is_needed(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2 and "COMMAND" in capsys.readouterr().err


def test_the_package_is_the_command(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["raysplit", "recipes"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("raysplit", run_name="__main__")
    assert stop.value.code == 0 and "mnist5k_vgg11_prune" in capsys.readouterr().out
