"""Machines by name and from files; devices from a file."""

from __future__ import annotations

import pytest

from raysplit.errors import ConfigError
from raysplit.hardware.machine import NAMED, Machine, get_machine, read_machines


@pytest.fixture
def written(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "devices.yaml"
        path.write_text(text)
        return str(path)

    return write


ROWS = """
- {name: pi, memory_mib: 64, gflops_per_s: 12.5, energy_gflops: 1e3}
- {name: phone, memory_mib: 512, gflops_per_s: 100}
"""


@pytest.mark.parametrize("text", [ROWS, "devices:" + ROWS])
def test_devices_are_read(written, text):
    pi = Machine(name="pi", memory_mib=64, gflops_per_s=12.5, energy_gflops=1000)
    assert read_machines(written(text)) == (pi, Machine(name="phone", memory_mib=512, gflops_per_s=100))


ROW = "{name: pi, memory_mib: 64, gflops_per_s: 1}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[{ROW}, {{name: b, memory: 1, gflops_per_s: 1}}]", "devices.1: unknown key 'memory'. Nearest: memory_mib"),
        ("[{name: pi, memory_mib: 64}]", "devices.0.gflops_per_s: Field required"),
        ("[{name: pi, memory_mib: -1, gflops_per_s: 1}]", "devices.0.memory_mib: .* greater than 0 .got -1"),
        ("[{name: pi, memory_mib: much, gflops_per_s: 1}]", "devices.0.memory_mib: .* valid number.* .got 'much'"),
        ("[{name: pi, memory_mib: .inf, gflops_per_s: 1}]", "devices.0.memory_mib: .* finite number"),
        ("[pi]", "devices.0: .*got 'pi'"),
        (f"[{ROW}, {ROW}]", "devices.1.name: devices.0 is called 'pi' too; rename one"),
        ("[]", "devices: there is none; list at least one"),
        ("", "valid dictionary"),
        (f"device: [{ROW}]", "unknown key 'device'. Nearest: devices"),
        ("[{name: pi", "is not YAML: while parsing a flow mapping .* expected ',' or '}'"),
    ],
)
def test_a_fault_is_one_line_with_file_place_and_key(written, text, message):
    path = written(text)
    with pytest.raises(ConfigError, match=f"^{path}.*{message}") as caught:
        read_machines(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    path = f"{tmp_path}/none.yaml"
    text = f"^{path} cannot be read: No such file or directory; give the path of a YAML file$"
    with pytest.raises(ConfigError, match=text):
        read_machines(path)


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
