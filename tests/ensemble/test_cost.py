"""What a network costs: its file, its operations, its time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raysplit.ensemble import cost as cost_module
from raysplit.ensemble.cost import measure_cost, measure_latencies


class TimedModel(nn.Module):
    """Notes with how many threads it is called, and takes as long as it is told on a clock that is made up."""

    def __init__(self, clock, taken):
        super().__init__()
        self.weight, self.clock, self.threads = nn.Parameter(torch.zeros(1)), clock, []
        self.taken = (seconds for each in taken for seconds in (1000, each))

    def forward(self, x):
        assert x.shape == (1, 1, 8, 8)
        self.threads.append(torch.get_num_threads())
        self.clock[0] += next(self.taken)
        return x


def test_latencies_are_medians_on_one_thread_of_the_second_calls_without_the_first_two_rounds(monkeypatch):
    clock, threads = [0.0], torch.get_num_threads()
    monkeypatch.setattr(cost_module.time, "perf_counter", lambda: clock[0])
    torch.set_num_threads(2)
    try:
        models = [TimedModel(clock, [90, 90, 1, 5, 2]), TimedModel(clock, [90, 90, 40, 30, 30])]
        assert measure_latencies(models, (1, 8, 8), rounds=3) == pytest.approx([2, 30])
        assert models[0].threads == models[1].threads == [1] * 10 and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_cost_of_a_layer():
    layer = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False))
    found = measure_cost(layer, (1, 8, 8), "fp32")
    assert found.params == 36 and found.flops == 2 * 36 * 64 and found.gmac == 36 * 64 / 1e9
    assert 4 * 36 < found.file_bytes < 4 * 36 + 300 and found.mib == found.file_bytes / 2**20
    assert measure_cost(layer, (1, 8, 8), "int8").file_bytes < found.file_bytes
