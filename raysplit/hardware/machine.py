"""How fast a device or a server computes and how much it holds: by name, or from a file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raysplit.errors import ConfigError
from raysplit.utils.frozen import Frozen
from raysplit.utils.settings import parse, read_named_or_file, read_yaml


class Machine(Frozen):
    """A device or a server, as plans and placements see it."""

    name: Annotated[str, Field(min_length=1)]
    memory_mib: Annotated[float, Field(gt=0)]
    """For weights and activations, in 2**20 bytes."""
    gflops_per_s: Annotated[float, Field(gt=0)]
    """1e9 operations of a forward pass per second, one image at a time; a MAC is 2."""
    energy_gflops: Annotated[float, Field(gt=0)] | None = None
    """Operations that its energy allows for all images, in 1e9; None: no limit."""
    source: str = ""
    """Where the numbers come from."""


NAMED: dict[str, Machine] = {
    machine.name: machine
    for machine in (
        Machine(
            name="pi4",
            gflops_per_s=12,
            memory_mib=2048,
            source="Raspberry Pi 4, 4 GB: assumed, a quarter of the peak of 4 Cortex-A72 cores × 1.5 GHz × 8 fp32 "
            "operations a cycle; half of the memory",
        ),
        Machine(
            name="jetson",
            gflops_per_s=80,
            memory_mib=2048,
            source="Jetson Nano, 4 GB: assumed, a third of the peak of 128 Maxwell cores × 0.92 GHz × 2 fp32 "
            "operations a cycle; half of the memory",
        ),
        Machine(
            name="mcu",
            gflops_per_s=0.2,
            memory_mib=1,
            source="a Cortex-M7 at 480 MHz with 1 MiB of RAM: assumed, a fifth of a fused multiply-add a cycle",
        ),
        Machine(
            name="server",
            gflops_per_s=2000,
            memory_mib=16384,
            source="a data center GPU of 20 fp32 TFLOP/s: assumed, a tenth of the peak",
        ),
    )
}


def get_machine(text: str) -> Machine:
    """Return a machine by name, or from a YAML file with the fields of `Machine`.

    Raises ConfigError, with the nearest name, for what is neither.

    >>> get_machine("pi4").memory_mib
    2048.0
    """
    hint = "`raysplit calibrate -o FILE` measures the machine that it runs on"
    return read_named_or_file(Machine, NAMED, text, "machine", hint)


def read_machines(path: str) -> tuple[Machine, ...]:
    """Read devices.yaml: a list of mappings with the keys of `Machine`, or one below the key `devices`.

    Raises ConfigError, one line with file, place and key, for whatever is not such a list.

    >>> from pathlib import Path
    >>> text = "- {name: camera, memory_mib: 512, gflops_per_s: 4}"
    >>> _ = Path("devices.yaml").write_text(text, encoding="utf-8")
    >>> [device.name for device in read_machines("devices.yaml")]
    ['camera']
    """
    tree = read_yaml(path, list[Machine] | _File)
    devices = parse(_File, {"devices": tree} if isinstance(tree, list) else tree, where=path).devices
    if not devices:
        raise ConfigError(f"{path}: devices: there is none; list at least one")
    names = [device.name for device in devices]
    for index, name in enumerate(names):
        first = names.index(name)
        if first < index:
            raise ConfigError(f"{path}: devices.{index}.name: devices.{first} is called '{name}' too; rename one")
    return devices


class _File(Frozen):
    devices: tuple[Machine, ...]
