"""The server halves of a family, on their own."""

from __future__ import annotations

import pytest
import torch

from raysplit.errors import ModelError
from raysplit.serving.args import Limits
from raysplit.serving.split.server_halves import ServerHalves


def test_probabilities_that_are_not_finite_fail_the_health_check(family):
    halves = ServerHalves(family, Limits())
    half = halves._halves.at(family.levels[0].level)
    with torch.no_grad():
        next(iter(half.parameters())).fill_(float("nan"))
    with pytest.raises(ModelError, match="computes probabilities that are not finite"):
        halves.check_health()
