import copy
import importlib.util
import sys

import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

from raysplit.config import ModelConfig
from raysplit.errors import MissingExtra, ModelError
from raysplit.models import build
from raysplit.models.spiking import SpikingVGG, spike_rate
from raysplit.split import count_flops, find_cuts


def tiny(**changes):
    """A net whose neurons all have a chance to fire."""
    torch.manual_seed(0)
    model = SpikingVGG("spiking_vgg5", 7, **{"channels": [8, 12, 16], "in_channels": 1, "steps": 3, **changes})
    for norm in norms(model):
        nn.init.uniform_(norm.bias, 0.2, 1.8)
    return model


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]


def images(count=4, size=12):
    return torch.randn(count, 1, size, size, generator=torch.Generator().manual_seed(1)) * 2


@pytest.mark.parametrize(("name", "convs", "side"), [("5", 3, 7), ("9", 7, 4), ("16", 13, 1)])
def test_names_and_sizes(name, convs, side):
    model = build(ModelConfig(name=f"spiking_vgg{name}", args={"width": 0.125}), 7, (1, 28, 28)).eval()
    assert isinstance(model, SpikingVGG) and model.name == f"spiking_vgg{name}" and model.steps == 5
    assert sum(isinstance(part, layer.Conv2d) for part in model.features) == convs
    z = model.forward_features(torch.randn(2, 1, 28, 28))
    assert z.shape == (5, 2, model.classifier[0].in_features, side, side)


def test_neurons_are_those_of_ec_snn():
    model = tiny()
    found = [module for module in model.modules() if isinstance(module, neuron.BaseNode)]
    assert len(found) == 4
    for node in found:
        assert type(node) is neuron.LIFNode and type(node.surrogate_function).__name__ == "ATan"
        assert (node.tau, node.v_threshold, node.v_reset) == (4 / 3, 1.0, 0.0)
        assert node.decay_input and node.detach_reset and node.step_mode == "m"
    assert not any(isinstance(m, nn.Conv2d) and m.bias is not None for m in model.modules())
    assert not any(isinstance(m, nn.MaxPool2d) for m in model.modules())


def test_three_part_call():
    model, x = tiny().eval(), images()
    z = model.forward_features(x)
    logits, features = model.forward_head(z), model.forward_head(z, pre_logits=True)
    assert z.shape == (3, 4, 16, 3, 3) and logits.shape == (3, 4, 7) and features.shape == (4, 16)
    assert torch.equal(model(x), logits.mean(0))
    torch.testing.assert_close(features, z.mean((0, 3, 4)))


@pytest.mark.parametrize("training", [True, False])
def test_the_first_convolution_once_is_the_first_convolution_at_every_step(training):
    model, x = tiny().train(training), images()
    every = copy.deepcopy(model)
    steps = every.features(x.expand(3, *x.shape))
    once = model.forward_features(x)
    assert 0 < once.mean() < 1 and len(set(once[:, 0].sum((1, 2, 3)).tolist())) > 1
    torch.testing.assert_close(once, steps)
    once.sum().backward()
    steps.sum().backward()
    torch.testing.assert_close(model.features[0].weight.grad, every.features[0].weight.grad)
    torch.testing.assert_close(model.features[1].running_mean, every.features[1].running_mean)


def test_every_forward_starts_at_rest_and_leaves_nothing_behind():
    model, x = tiny().eval(), images()
    first = model(x)
    model(images(2) * 5)
    assert torch.equal(model(x), first)
    model.features[2](torch.full((3, 4, 8, 12, 12), 0.9))  # charged by hand
    assert torch.equal(model(x), first)
    copied = copy.deepcopy(model.train())  # fails where a graph hangs on a neuron
    assert torch.equal(copied.eval()(x), first)


def test_one_seed_gives_one_answer():
    answers = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        answers.append(build(ModelConfig(name="spiking_vgg5", args={"width": 0.25}), 7, (1, 12, 12)).eval()(images()))
    assert torch.equal(answers[0], answers[1]) and not torch.equal(answers[0], answers[2])


def test_it_learns():
    model, x = tiny(), images(16)
    labels = torch.arange(16) % 7
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_operations_are_counted_at_every_step_that_computes_them():
    first, others = 8 * 9 * 12 * 12, (8 * 12 + 12 * 16) * 9 * 6 * 6
    for steps in (1, 3):
        macs = first + steps * (others + 16 * 16 + 16 * 7)
        assert count_flops(tiny(steps=steps), (1, 12, 12)) == 2 * macs


def test_spike_rate_is_the_number_of_spikes_of_one_image():
    model, x = tiny(), images()
    neurons = 8 * 144 + (12 + 16) * 36 + 16
    for bias, rate in ((100.0, 3 * neurons), (-100.0, 0)):
        for norm in norms(model):
            nn.init.constant_(norm.bias, bias)
        assert spike_rate(model, x) == rate
    assert model.training
    nn.init.constant_(norms(model)[0].bias, 100.0)
    assert spike_rate(model, x) == 3 * 8 * 144
    nn.init.constant_(norms(model)[0].bias, 0.0)
    assert spike_rate(model, x) == model.eval().features[:3](x.expand(3, *x.shape)).sum() / 4 > 0
    assert not model.features[2]._forward_hooks


def test_bf16():
    model = tiny().eval().to(torch.bfloat16)
    assert model(images().bfloat16()).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(tiny().eval()(images())).all()


def test_spikingjelly_is_an_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "raysplit.models.spiking")
    monkeypatch.setitem(sys.modules, "spikingjelly.activation_based", None)
    spec = importlib.util.find_spec("raysplit.models.build")
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    fresh.build(ModelConfig(name="vgg5", args={"width": 0.125}), 7, (1, 12, 12))
    with pytest.raises(MissingExtra) as err:
        fresh.build(ModelConfig(name="spiking_vgg5"), 7, (1, 12, 12))
    assert str(err.value) == "a spiking VGG needs the package 'spikingjelly': pip install 'raysplit[snn]'"


def test_errors():
    with pytest.raises(
        ModelError, match=r"there is no model 'spiking_vgg6'. Nearest: spiking_vgg16, spiking_vgg9, spiking_vgg5."
    ):
        build(ModelConfig(name="spiking_vgg6"), 7, (1, 12, 12))
    with pytest.raises(ModelError, match=r"model spiking_vgg5 takes no argument 'stesp'. Nearest: steps."):
        build(ModelConfig(name="spiking_vgg5", args={"stesp": 4}), 7, (1, 12, 12))
    with pytest.raises(ModelError, match=r"model spiking_vgg5 cannot be traced"):
        find_cuts(tiny(), (1, 12, 12))
