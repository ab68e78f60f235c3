"""The device's own loss: shapes of the head, and which values its gradient reaches."""

from __future__ import annotations

import pytest
import torch

from raysplit.config import Level, LocalLoss
from raysplit.schedules import Decision
from raysplit.train.device_side import DeviceSide
from raysplit.train.local_head import LocalHead
from tests.train.freezing import HEAD

SHAPES = [((6, 16, 16), 1), ((6, 3, 9), 1), ((6, 1, 1), 1), ((5, 6), 2), ((4, 3, 6), 3), ((6,), 1)]
"""Grids, tokens, a grid of tokens, and no places at all; six channels each."""


@pytest.mark.parametrize(("shape", "channel_dim"), SHAPES)
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_logits_for_every_shape_and_gradients_for_all_that_it_holds(shape, channel_dim, layers):
    head = LocalHead(LocalLoss(width=8, layers=layers), shape, channel_dim, 10)
    z = torch.rand(4, *shape, requires_grad=True)
    logits = head(z)
    assert logits.shape == (4, 10) and logits.isfinite().all()
    logits.square().sum().backward()
    assert z.grad is not None and z.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize(("shape", "channel_dim"), SHAPES)
def test_without_layers_it_classifies_the_mean_over_places(shape, channel_dim):
    head, z = LocalHead(LocalLoss(layers=0), shape, channel_dim, 3), torch.rand(2, *shape)
    places = [d for d in range(1, z.ndim) if d != channel_dim]
    mean = z.mean(places) if places else z
    torch.testing.assert_close(head(z), mean @ head.classify.weight.T + head.classify.bias)


@pytest.mark.parametrize(("shape", "channel_dim"), [((5, 6), 2), ((4, 3, 6), 3)])
def test_tokens_are_taken_one_by_one(shape, channel_dim):
    """The order of tokens does not matter, the order of channels does."""
    head, z = LocalHead(LocalLoss(width=8), shape, channel_dim, 3), torch.rand(2, *shape)
    torch.testing.assert_close(head(z.flip(1)), head(z))
    assert not torch.allclose(head(z.flip(-1)), head(z))


def test_layers_halve_the_grid_down_to_two_and_the_last_is_twice_as_wide():
    head = LocalHead(LocalLoss(width=8, layers=5), (6, 9, 16), 1, 10)
    assert head.layers(torch.rand(1, 6, 9, 16)).shape == (1, 16, 2, 4)


@pytest.mark.parametrize(
    ("level", "values"),
    [("all.b4/b4", 64), ("c3.b4/b4", 12), ("all.k5.b4/b4", 5), ("c3.k5.b2/b2", 5), ("c3.b2/b2.ch", 12)],
)
@pytest.mark.parametrize("mode", ["local", "alone"])
def test_the_gradient_is_restricted_to_what_was_sent(squeezed, level, values, mode):
    """As the server's is: a code of 16 channels of 2×2; `values` of a sample's 64 may have a gradient."""
    config = squeezed.replaced(train=squeezed.train.replaced(local_loss=HEAD))
    side, seen = DeviceSide(config), []
    apply = side._apply

    def watch(number, z, penalty, grad):
        seen.append((grad, side._half.encoder.choose_channels(side._decision.level.channels)))
        apply(number, z, penalty, grad)

    side._apply = watch
    side.begin_epoch(0, Decision(Level.model_validate(level), "", mode=mode))
    side.train_alone() if mode == "alone" else side.forward()
    grad, kept = seen[0]
    assert grad.shape == (32, 16, 2, 2)
    assert (grad != 0).flatten(1).sum(1).max() <= values and (grad != 0).any(0).sum() >= min(values, 5)
    if kept is not None:
        assert not grad[:, [c for c in range(16) if c not in kept]].any() and grad[:, list(kept)].any()
