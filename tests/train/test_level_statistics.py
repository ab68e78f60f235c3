from __future__ import annotations

import torch
from torch import nn

from raysplit.train.level_statistics import LevelStatistics
from raysplit.wire.level import Level

TIGHT, LOOSE, OTHER = Level("c2.b4/b4"), Level("all.b4/b4"), Level("c4.b4/b4")


def make_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2), nn.BatchNorm1d(2, affine=False))


def train(net, statistics, *levels, start=0):
    """Pass batches whose scale is that of the level."""
    for step, level in enumerate(levels, start=start):
        statistics.use(level)
        net(torch.randn(8, 3, generator=torch.Generator().manual_seed(step)) * (level.channels or 9))


def test_each_level_sees_its_own_batches_alone():
    net, alone = make_net(), make_net()
    statistics = LevelStatistics(net)
    train(net, statistics, TIGHT, LOOSE, TIGHT, LOOSE, LOOSE, TIGHT)
    for step in (0, 2, 5):
        alone(torch.randn(8, 3, generator=torch.Generator().manual_seed(step)) * 2)
    statistics.use(TIGHT)
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), alone.buffers(), strict=True))
    assert net[1].num_batches_tracked == 3


def test_a_new_level_goes_on_from_what_is_there():
    net = make_net()
    statistics = LevelStatistics(net)
    assert not statistics.begun
    train(net, statistics, TIGHT, LOOSE)
    before = [buffer.clone() for buffer in net.buffers()]
    statistics.use(OTHER)
    assert statistics.begun and all(torch.equal(a, b) for a, b in zip(net.buffers(), before, strict=True))


def test_a_restored_half_goes_on_as_the_whole():
    whole, part, resumed = make_net(), make_net(), make_net()
    levels = (TIGHT, LOOSE, OTHER, TIGHT, OTHER, LOOSE)
    train(whole, one := LevelStatistics(whole), *levels)
    train(part, two := LevelStatistics(part), *levels[:3])
    resumed.load_state_dict(part.state_dict())
    three = LevelStatistics(resumed)
    three.restore(two.state())
    train(resumed, three, *levels[3:], start=3)
    for level in levels[:3]:
        one.use(level)
        three.use(level)
        assert all(torch.equal(a, b) for a, b in zip(whole.buffers(), resumed.buffers(), strict=True))
