from __future__ import annotations

import pytest
import torch

from raysplit.cli.main import main
from tests.full_disk import nearly_full


def test_a_half_is_exported(capsys, family, tmp_path):
    file = str(tmp_path / "device.pt2")
    assert main(["export", family._bundle.location, "--level", "c2.b8/b8", "-o", file]) == 0
    assert capsys.readouterr().out == f"{file}: device half at c2·b8/b8, uint8 (N, 1, 8, 8) → float32 (N, 2, 2, 2)\n"
    program = torch.export.load(file).module()
    assert program(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape == (3, 2, 2, 2)


@pytest.mark.parametrize(("half", "file"), [("device", "device.pt2"), ("whole", "model.safetensors")])
def test_a_full_disk_leaves_nothing_behind(fail, family, tmp_path, half, file):
    with nearly_full(100):
        text = fail("export", family._bundle.location, "--half", half, "-o", str(tmp_path / "out" / file))
    assert text.startswith(f"error: cannot write {file} to '{tmp_path}/out': ")
    assert not list((tmp_path / "out").iterdir())


def test_another_ending(fail, family, tmp_path):
    assert "choose one of them" in fail("export", family._bundle.location, "-o", str(tmp_path / "device.exe"))
