from __future__ import annotations

from raysplit.config import ModelConfig
from raysplit.models import build
from raysplit.planner.cut_costs import format_costs, price_cuts

VIT = ModelConfig(name="timm:vit_tiny_patch16_224", args={"patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3})


def test_tokens_are_priced_by_their_values():
    """blocks.0 puts 5 tokens of 24 at the cut: 60 bytes at 4 bits, 8 of range, 27 + 3·4 of header."""
    costs = price_cuts(build(VIT, 10, (1, 8, 8)), (1, 8, 8))
    cost = next(cost for cost in costs if cost.profile.name == "blocks.0")
    assert cost.profile.shape == (5, 24) and cost.profile.channel_dim == 2
    assert cost.crossing_bytes_default == 60 + 8 + 39 and not cost.exact
    assert f"≤ {60 + 8 + 39}" in format_costs("vit", "1x8x8", costs)
