"""What the processor says of itself decides the precision of recipes."""

from __future__ import annotations

import pytest

from raysplit import recipe
from raysplit.hardware import processor
from raysplit.hardware.processor import fast_precision, has_bf16

XEON = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R)\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile\n"
EPYC = "processor\t: 0\nmodel name\t: AMD EPYC bf16\nflags\t\t: fpu sse4_2 avx2 fma\n"
GRAVITON = "processor\t: 0\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd i8mm bf16 dgh\n"
PI = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"


@pytest.mark.parametrize(
    ("text", "found"), [(XEON, True), (EPYC, False), (GRAVITON, True), (PI, False), ("", False), ("flags\n", False)]
)
def test_flags_of_processors(tmp_path, text, found):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert has_bf16(file) is found


@pytest.mark.parametrize(
    ("instructions", "gpu", "precision"),
    [(False, False, "fp32"), (True, False, "bf16"), (False, True, "bf16")],
)
def test_the_faster_precision(monkeypatch, tmp_path, instructions, gpu, precision):
    monkeypatch.setattr(processor, "has_bf16", lambda: instructions)
    monkeypatch.setattr(processor, "_GPU", tmp_path if gpu else tmp_path / "none")
    assert fast_precision() == precision


def test_a_recipe_takes_it():
    assert recipe("mnist5k_vgg11_deprune").train.precision == fast_precision()
