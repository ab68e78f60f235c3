"""The serving benchmarks: the output of `wrk`, and the faults on real replicas."""

from __future__ import annotations

import pytest


def test_output_of_wrk():
    from serving_load import generator

    counted = '"answers": 100, "us": 2000000, "refused": 10, "broken": 3, "degraded": 5'
    line = f'{{{counted}, "p50": 1500, "p95": 2e3, "p99": 3e3}}'
    result = generator.parse_output(f"Running 2s test\n\nFIGURES {line}\n")
    assert result == generator.LoadResult(ips=42.5, p50_ms=1.5, p95_ms=2.0, p99_ms=3.0, bad=18)
    with pytest.raises(RuntimeError, match="got no response: unable to connect"):
        generator.parse_output("unable to connect")


@pytest.mark.ray
@pytest.mark.slow  # tests/serving/ensemble/test_application.py kills one replica
@pytest.mark.usefixtures("own_ray")
def test_no_request_is_lost_or_wrong_while_replicas_die_and_the_bundle_is_replaced(tiny_ensemble, tmp_path):
    import serving_faults

    from raysplit.config import EnsembleConfig, loads
    from raysplit.ensemble.build import build_ensemble

    first = tiny_ensemble / "bundle"
    config = loads(EnsembleConfig, (tiny_ensemble / "config.json").read_text(), where="the tiny ensemble")
    build_ensemble(config.replaced(seed=config.seed + 1), str(tmp_path / "second"))
    rows = serving_faults.run(str(first), str(tmp_path / "second" / "bundle"), 4.0, "default")
    assert [row["fault"] for row in rows] == ["none", *serving_faults.FAULTS]
    for row in rows:
        assert row["requests"] > 20
        assert (row["lost"], row["wrong"], row["degraded_after"]) == (0, 0, 0), row
    assert rows[0]["repeated"] == rows[0]["degraded"] == 0
