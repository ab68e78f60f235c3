"""Mixed precision."""

from __future__ import annotations

import pytest
import torch

from raysplit.torch_utils import compute


@pytest.mark.parametrize(
    ("device", "precision", "instructions", "warns"),
    [
        ("cpu", "bf16", False, True),
        ("cpu", "bf16", True, False),
        ("cpu", "fp32", False, False),
        ("cuda", "bf16", False, False),
    ],
)
@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_slow_bf16_is_named_once(monkeypatch, caplog, device, precision, instructions, warns):
    monkeypatch.setattr(compute, "has_bf16", lambda: instructions)
    compute.warn_of_slow_bf16.cache_clear()
    for _ in range(2):
        with compute.autocast(torch.device(device), precision):
            pass
    assert caplog.messages == warns * [
        "this processor has no instructions for bf16, which takes many times as long here as fp32; precision=fp32 "
        "avoids it"
    ]
