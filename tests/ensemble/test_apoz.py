import pytest
import torch
from torch import nn

from raysplit.config import ModelConfig
from raysplit.ensemble.apoz import activation_rates
from raysplit.ensemble.prunable.base import prunable_network
from raysplit.ensemble.prunable.vgg import PrunableVGG
from raysplit.errors import ConfigError
from raysplit.models import build

SHAPE = (1, 12, 12)


def base(name):
    torch.manual_seed(0)
    model = build(ModelConfig(name=name, args={"channels": [6, 8, 10]}), 4, SHAPE)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, 0.0, 1.0)
    return model.eval()


def images(count=5):
    return 2 * torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["vgg5", "spiking_vgg5"])
def test_a_filter_that_never_answers_and_one_that_always_does(name):
    model = base(name)
    with torch.no_grad():
        model.features[5].bias[2], model.features[5].bias[3] = -100.0, 100.0
    scores = activation_rates(PrunableVGG(model, SHAPE), images())
    assert scores["features.4"][2] == 0 and scores["features.4"][3] == 1
    assert {group: len(score) for group, score in scores.items()} == PrunableVGG(model, SHAPE).units()
    assert all(score.dtype == torch.float32 and 0 <= score.min() <= score.max() <= 1 for score in scores.values())


def test_shares_by_hand():
    model, x = base("vgg5"), images(70)  # three batches, the last one smaller
    maps = model.features[:3](x)
    scores = activation_rates(PrunableVGG(model, SHAPE), x)
    torch.testing.assert_close(scores["features.0"], (maps > 0).float().mean((0, 2, 3)))
    assert scores["features.0"].unique().numel() == 6
    hidden = model.classifier[1](model.forward_head(model.forward_features(x), pre_logits=True))
    torch.testing.assert_close(scores["classifier.1"], (hidden > 0).float().mean(0))


def test_shares_of_a_spiking_net_are_over_its_steps():
    model, x = base("spiking_vgg5"), images()
    spikes = model.features[:3](x.expand(5, *x.shape))
    score = activation_rates(PrunableVGG(model, SHAPE), x)["features.0"]
    torch.testing.assert_close(score, spikes.mean((0, 1, 3, 4)))
    assert score.min() > 0 and spikes[0].mean() != spikes.mean()


def test_a_transformer_has_no_zeros():
    vit = build(ModelConfig(name="vit", args={"patch": 4, "width": 8, "depth": 1, "heads": 2}), 4, SHAPE)
    with pytest.raises(ConfigError) as err:
        activation_rates(prunable_network(vit, SHAPE), images())
    assert str(err.value) == (
        "prune.scores: apoz counts zeros, and the activations of vit are never zero; use fast, exact or random"
    )
