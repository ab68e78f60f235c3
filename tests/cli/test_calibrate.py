from __future__ import annotations

from raysplit.cli.main import main
from raysplit.hardware.machine import get_machine
from raysplit.planner import calibrate
from tests.full_disk import nearly_full


def test_calibrate_writes_a_machine_that_plan_reads(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "_SHAPE", (3, 64, 64))
    file = str(tmp_path / "here.yaml")
    assert main(["calibrate", "--name", "bench", "-o", file]) == 0
    assert capsys.readouterr().out.endswith(f"{file}\n")
    machine = get_machine(file)
    assert machine.name == "bench" and machine.gflops_per_s > 0 and "raysplit calibrate" in machine.source
    assert main(["plan", "vgg5", "--data", "digits", "--device", file]) == 0
    assert "bench" in capsys.readouterr().out


def test_a_full_disk_keeps_the_earlier_file(fail, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "_SHAPE", (3, 32, 32))
    (tmp_path / "here.yaml").write_text("name: earlier")
    with nearly_full(20):
        text = fail("calibrate", "-o", str(tmp_path / "here.yaml"))
    assert text.startswith(f"error: cannot write here.yaml to '{tmp_path}': ")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["name: earlier"]
