"""Machines by name and from files."""

from __future__ import annotations

import pytest

from raysplit.errors import ConfigError
from raysplit.hardware.machine import NAMED, Machine, get_machine


def test_machines_by_name():
    assert get_machine("pi4") is NAMED["pi4"] and get_machine("pi4").name == "pi4"
    with pytest.raises(ConfigError, match="'pi' is neither a machine nor a file.*Nearest: pi4"):
        get_machine("pi")


def test_machines_from_files(tmp_path):
    file = tmp_path / "m.yaml"
    file.write_text("{name: mine, gflops_per_s: 3, memory_mib: 64, source: a guess}")
    assert get_machine(str(file)) == Machine(name="mine", gflops_per_s=3, memory_mib=64, source="a guess")
    file.write_text("{name: mine, gflops: 3, memory_mib: 64, source: a guess}")
    with pytest.raises(ConfigError, match="gflops_per_s"):
        get_machine(str(file))
    file.write_text("{")
    with pytest.raises(ConfigError, match="is not YAML"):
        get_machine(str(file))
