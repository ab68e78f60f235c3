from __future__ import annotations

from raysplit.planner import calibrate


def test_this_machine_is_measured(monkeypatch):
    monkeypatch.setattr(calibrate, "_SHAPE", (3, 64, 64))
    machine = calibrate.calibrate("bench", rounds=1)
    assert machine.name == "bench" and machine.gflops_per_s > 0 and machine.memory_mib > 1
    assert machine.source.startswith("raysplit calibrate, ") and "mobilenet_v3_small" in machine.source
