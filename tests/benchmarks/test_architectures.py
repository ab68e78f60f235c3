"""The table of architectures: a step in two halves is compared with one unsplit, and rows say what came of it."""

from __future__ import annotations

import torch
from torch import nn

from raysplit.split import find_cuts

SHAPE = (3, 8, 8)


def make() -> nn.Sequential:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 1000))


def test_a_step_in_two_halves(scripts):
    import architectures

    torch.manual_seed(1)
    images, labels = torch.randn(2, *SHAPE), torch.tensor([3, 7])
    whole = make().train()
    architectures.step(whole, lambda: architectures.loss_of(whole, images, labels).backward())
    for cut in find_cuts(make(), SHAPE):
        split = architectures.split_step(find_cuts(make(), SHAPE), cut.name, images, labels)
        assert architectures.compare(whole, split) == 0
    assert architectures.compare(whole, make()) > 0


def test_rows(scripts, monkeypatch):
    import architectures

    monkeypatch.setattr(architectures, "NAMES", ("alexnet", "vgg16", "swin_t", "resnet18"))
    row = {"library": "torchvision", "input": "3x224x224", "args": {"aux_logits": False}, "cuts": ["a", "b", "c"]}
    rows = {
        "alexnet": row | {"steps": {"a": 0.0, "b": 0.0}},
        "vgg16": row | {"steps": {"a": 2e-7, "b": 0.0}},
        "swin_t": {"library": "timm", "input": "3x8x8", "args": {}, "error": "it has no cut"},
    }
    _, _, *lines = architectures.table(rows).splitlines()
    assert lines == [
        "| torchvision:alexnet, `aux_logits=false` | 3x224x224 | 3 | `a`, `b` | identical |",
        "| torchvision:vgg16, `aux_logits=false` | 3x224x224 | 3 | `a`, `b` | up to 2e-07 apart at 1 of 2 |",
        "| timm:swin_t | 3x8x8 | – | – | it has no cut |",
    ]
