"""The fusion MLP: its layers, its standardization, and which sub-models it is trained without."""

from __future__ import annotations

import pytest
import torch

from raysplit.ensemble.fusion import Fusion, draw_presence


def test_hidden_widths_halve_but_stay_above_the_classes():
    def sizes(fusion: Fusion) -> list[int]:
        return [layer.out_features for layer in fusion.layers if isinstance(layer, torch.nn.Linear)]

    assert sizes(Fusion((128,) * 10, 10, 3, "mean")) == [640, 320, 10]
    assert sizes(Fusion((16, 16), 10, 4, "mean")) == [16, 10, 10, 10]
    assert sizes(Fusion((16, 16), 10, 1, "mean")) == [10]
    assert isinstance(Fusion((16, 16), 10, 3, "mean").layers[-1], torch.nn.Linear)


def test_a_constant_feature_is_not_scaled():
    constant = Fusion((2,), 2, 1, "mean")
    constant.fit_standardization(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert constant.mean.tolist() == [2, 5] and constant.std.tolist() == [1, 1]


def test_each_sub_model_is_lost_as_often_as_asked_and_never_all():
    present = draw_presence(20000, 3, 0.3, torch.Generator().manual_seed(1))
    assert present.shape == (20000, 3) and present.dtype == torch.bool and present.any(1).all()
    # All three would be lost in 0.027 of the rows; one of them then stays.
    assert (~present).double().mean(0).tolist() == pytest.approx([0.3 - 0.027 / 3] * 3, abs=0.01)
    assert draw_presence(50, 1, 0.9, torch.Generator()).all()
    assert draw_presence(50, 4, 0.0, torch.Generator()).all()
    again = draw_presence(20000, 3, 0.3, torch.Generator().manual_seed(1))
    assert torch.equal(present, again)
