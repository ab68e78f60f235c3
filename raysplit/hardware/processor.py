"""What the processor of this machine has instructions for."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})
"""Of x86 and ARM, as Linux names them."""
_CPU = Path("/proc/cpuinfo")
_GPU = Path("/proc/driver/nvidia/version")


@cache
def has_bf16(cpu: Path = _CPU) -> bool:
    """Return whether the processor multiplies bfloat16; False where the system does not say.

    Without such instructions torch falls back to plain loops, which take many times as long as fp32 (docs/log.md).

    >>> has_bf16(Path("/nowhere"))
    False
    """
    try:
        lines = cpu.read_text().splitlines()
    except OSError:
        return False
    flags = (line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features")))
    return not _BF16_FLAGS.isdisjoint(next(flags, ()))


def fast_precision() -> Literal["fp32", "bf16"]:
    """Return the precision that trains faster on this machine: bf16 if the processor or an Nvidia GPU computes in it.

    Recipes ask when they are imported, and the record of a run holds the answer, so that it goes on alike elsewhere.
    """
    return "bf16" if has_bf16() or _GPU.exists() else "fp32"
