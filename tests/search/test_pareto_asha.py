from __future__ import annotations

from raysplit.search.pareto_asha import ParetoASHA


def test_rungs_rank_by_dominance():
    asha = ParetoASHA({"accuracy": "max", "bytes": "min"}, 1, 3)
    assert asha.should_continue(1, {"accuracy": 0.9, "bytes": 100})
    assert asha.should_continue(1, {"accuracy": 0.2, "bytes": 1})
    assert not asha.should_continue(1, {"accuracy": 0.1, "bytes": 200})
    assert asha.should_continue(2, {"accuracy": 0.0, "bytes": 999})  # not a rung


def test_without_a_reduction_no_trial_is_stopped():
    asha = ParetoASHA({"accuracy": "max"}, 1, None)
    assert all(asha.should_continue(1, {"accuracy": accuracy}) for accuracy in (0.9, 0.5, 0.1))
