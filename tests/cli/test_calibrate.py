from __future__ import annotations

from raysplit.cli.main import main
from raysplit.hardware.machine import get_machine
from raysplit.planner import calibrate


def test_calibrate_writes_a_machine_that_plan_reads(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "_SHAPE", (3, 64, 64))
    file = str(tmp_path / "here.yaml")
    assert main(["calibrate", "--name", "bench", "-o", file]) == 0
    assert capsys.readouterr().out.endswith(f"{file}\n")
    machine = get_machine(file)
    assert machine.name == "bench" and machine.gflops_per_s > 0 and "raysplit calibrate" in machine.source
    assert main(["plan", "vgg5", "--data", "digits", "--device", file]) == 0
    assert "bench" in capsys.readouterr().out
