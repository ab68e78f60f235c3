"""The network of the benchmark of many devices, for `model.name=benchmarks/many/network.py:FUNCTION`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from raysplit.models.resnet9 import ResNet9


def group_normed(classes: int, shape: tuple[int, int, int], widths: Sequence[int], groups: int) -> nn.Module:
    """Return ResNet-9 with group norm in place of batch norm, whose stem halves the grid: a quarter of the work.

    Group norm knows no statistics of a batch, which differ between devices whose shards are not IID (Hsieh et al.,
    ICML 2020, arXiv 1910.00189).
    """
    net = ResNet9(classes, shape[0], widths)
    net.stem[0] = nn.Conv2d(shape[0], widths[0], 4, stride=2, padding=1, bias=False)
    for block in [module for module in net.modules() if isinstance(module, nn.Sequential)]:
        for name, layer in block.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                setattr(block, name, nn.GroupNorm(groups, layer.num_features))
    return net
