import copy
import itertools

import pytest
import torch
from torch import nn

from raysplit.config import ModelConfig
from raysplit.ensemble.prunable.base import prunable_network
from raysplit.ensemble.prunable.vgg import PrunableVGG
from raysplit.models import VGG, build

SHAPE = (1, 12, 12)
NAMES = ["vgg5", "spiking_vgg5"]
CHANNELS, HIDDEN, CLASSES = [20, 24, 32], 28, 7


def base(name, dtype=torch.float64, **args):
    """A net with batch statistics as after training, in which all units answer at times.

    In float64, because a spike that appears or not with the last bit of a float32 would not be a fault.
    """
    torch.manual_seed(0)
    args = {"channels": CHANNELS, "hidden": HIDDEN} | args
    model = build(ModelConfig(name=name, args=args), CLASSES, SHAPE)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, 0.2, 1.5)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            module.num_batches_tracked.fill_(5)
    return model.to(dtype).eval()


def images(count=3, dtype=torch.float64):
    return 2 * torch.randn(count, *SHAPE, dtype=dtype, generator=torch.Generator().manual_seed(1))


def random_scores(network, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return {group: torch.rand(count, generator=draws) for group, count in network.units().items()}


def masks_of(network, kept):
    return {
        group: torch.zeros(count, dtype=torch.float64).index_fill(0, kept[group], 1)
        for group, count in network.units().items()
    }


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("name", "hidden"), [("vgg5", "classifier.1"), ("spiking_vgg5", "classifier.0")])
def test_groups_are_filters_and_hidden_units(name, hidden):
    network = prunable_network(base(name), SHAPE)
    assert isinstance(network, PrunableVGG) and network.size_steps == 16
    assert network.kind == {"vgg5": "cnn", "spiking_vgg5": "snn"}[name]
    assert list(network.units().items()) == [("features.0", 20), ("features.4", 24), ("features.7", 32), (hidden, 28)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", range(1, 17))
def test_pruned_is_masked(name, k):
    model = base(name)
    network, x = PrunableVGG(model, SHAPE), images()
    kept = network.select_units(random_scores(network, k), k)
    small = network.shrink(kept, k, None, False).eval()
    counts = [max(16, round(count * k / 16)) for count in (*CHANNELS, HIDDEN)]
    assert [len(units) for units in kept.values()] == counts
    assert [layer.out_channels for layer in small.features if isinstance(layer, nn.Conv2d)] == counts[:3]
    masked = network.forward_masked(x, masks_of(network, kept))
    torch.testing.assert_close(small(x), masked)
    assert masked.std() > 0.01  # a silent net would agree with anything
    if min(counts) < 20:
        assert not torch.allclose(masked, model(x))


@pytest.mark.parametrize("name", NAMES)
def test_float32_too(name):
    network, x = PrunableVGG(base(name, torch.float32), SHAPE), images(dtype=torch.float32)
    kept = network.select_units(random_scores(network), 12)
    masked = network.forward_masked(x, {group: mask.float() for group, mask in masks_of(network, kept).items()})
    torch.testing.assert_close(network.shrink(kept, 12, None, False).eval()(x), masked, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_deeper_nets_and_grey_images_of_28_pixels(name):
    model = build(ModelConfig(name=name.replace("5", "9"), args={"width": 0.25}), 10, (1, 28, 28)).double()
    network, x = PrunableVGG(model, (1, 28, 28)), torch.randn(2, 1, 28, 28, dtype=torch.float64)
    kept = network.select_units(random_scores(network), 9)
    assert [len(units) for units in kept.values()] == [16, 16, 18, 18, 36, 36, 36, 36]
    small = network.shrink(kept, 9, None, False).eval()
    torch.testing.assert_close(small(x), network.forward_masked(x, masks_of(network, kept)))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_fall_with_k(name):
    model = base(name, channels=[32, 64, 64], hidden=64)
    network = PrunableVGG(model, SHAPE)
    sizes = []
    for k in range(16, 0, -1):
        small = network.shrink(network.select_units(random_scores(network), k), k, None, False)
        planned = build(network.geometry(k), CLASSES, SHAPE)
        assert type(small) is type(model) and parameters(small) == parameters(planned)
        assert list(small.state_dict()) == list(model.state_dict())
        sizes.append(parameters(small))
    assert sizes[0] == parameters(model) and sizes[0] > 10 * sizes[-1]
    assert all(more > less for more, less in itertools.pairwise(sizes[:13]))


def test_geometry_keeps_the_other_arguments():
    assert PrunableVGG(base("vgg5", dropout=0.2), SHAPE).geometry(8) == ModelConfig(
        name="vgg5", args={"channels": [16, 16, 16], "hidden": 16, "dropout": 0.2}
    )
    config = PrunableVGG(base("spiking_vgg5", steps=3), SHAPE).geometry(14)
    assert config == ModelConfig(name="spiking_vgg5", args={"channels": [18, 21, 28], "hidden": 24, "steps": 3})
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("name", NAMES)
def test_choice_is_the_best_in_order(name):
    network = PrunableVGG(base(name), SHAPE)
    scores = {group: torch.arange(count).float() % 19 for group, count in network.units().items()}
    kept = network.select_units(scores, 1)
    assert kept["features.0"].tolist() == [*range(3, 19)] and kept["features.0"].dtype == torch.int64
    assert kept["features.4"].tolist() == sorted([*range(5, 19), 4, 23])
    everything = network.select_units(scores, 16)
    assert all(everything[group].tolist() == [*range(count)] for group, count in network.units().items())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rest", [False, True])
def test_the_head_of_own_classes(name, rest):
    model = base(name)
    network, x = PrunableVGG(model, SHAPE), images()
    kept = network.select_units(random_scores(network), 12)
    whole = network.shrink(kept, 12, None, False).eval()(x)
    own = network.shrink(kept, 12, [5, 2], rest).eval()(x)
    torch.testing.assert_close(own[:, int(rest) :], whole[:, [5, 2]])
    if rest:
        torch.testing.assert_close(own[:, 0], whole[:, [0, 1, 3, 4, 6]].mean(1))
    small = network.shrink(kept, 12, [5, 2], rest)
    assert small.forward_head(small.forward_features(x), pre_logits=True).shape == (3, len(kept["features.7"]))


@pytest.mark.parametrize("name", NAMES)
def test_masks_of_each_image_and_masks_of_all(name):
    network, x = PrunableVGG(base(name), SHAPE), images(2)
    first, second = (masks_of(network, network.select_units(random_scores(network, seed), 8)) for seed in (1, 2))
    both = network.forward_masked(x, {group: torch.stack([first[group], second[group]]) for group in first})
    torch.testing.assert_close(both[:1], network.forward_masked(x[:1], first))
    torch.testing.assert_close(both[1:], network.forward_masked(x[1:], second))
    some = {"features.4": first["features.4"]}
    all_on = {group: torch.ones(count, dtype=torch.float64) for group, count in network.units().items()}
    torch.testing.assert_close(network.forward_masked(x, some), network.forward_masked(x, all_on | some))
    assert torch.equal(network.forward_masked(x, all_on), network.model(x)) and torch.equal(
        network.forward_masked(x, {}), network.model(x)
    )
    assert not torch.allclose(network.forward_masked(x, some), network.model(x))


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_differentiable_in_the_masks(name):
    network, x = PrunableVGG(base(name), SHAPE), images(2)
    masks = {
        group: torch.ones(2, count, dtype=torch.float64, requires_grad=True) for group, count in network.units().items()
    }
    logits = network.forward_masked(x, masks)
    slopes = [torch.autograd.grad(out.sum(), list(masks.values()), retain_graph=True) for out in logits.unbind(1)]
    assert all(torch.isfinite(slope).all() and slope.abs().sum() > 0 for row in slopes for slope in row)
    # The head is linear in its inputs, so that there a slope is what the unit gives.
    last = list(masks)[-1]
    off = torch.ones(2, HIDDEN, dtype=torch.float64)
    off[:, 3] = 0
    change = logits - network.forward_masked(x, {last: off})
    torch.testing.assert_close(torch.stack([row[-1][:, 3] for row in slopes], 1), change)
    copy.deepcopy(network.model)  # fails where a graph hangs on the base


def test_slopes_of_a_plain_net_are_those_of_finite_differences():
    network, x = PrunableVGG(base("vgg5"), SHAPE), images(1)
    mask = torch.ones(20, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(network.forward_masked(x, {"features.0": mask})[0, 0], mask)
    for unit in (0, 7):
        step = torch.zeros(20, dtype=torch.float64).index_fill(0, torch.tensor([unit]), 1e-7)
        above, below = (network.forward_masked(x, {"features.0": 1 + sign * step})[0, 0] for sign in (1, -1))
        assert (above - below).item() / 2e-7 == pytest.approx(slopes[unit].item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_base_stays_as_it_was(name):
    model = base(name)
    before = copy.deepcopy(model.state_dict())
    network = PrunableVGG(model.train(), SHAPE)
    assert not model.training  # batch statistics are the base's own
    small = network.shrink(network.select_units(random_scores(network), 16), 16, None, False).train()
    network.forward_masked(images(), {"features.0": torch.zeros(20, dtype=torch.float64)})
    optimizer = torch.optim.SGD(small.parameters(), 0.1)
    small(images()).square().sum().backward()
    optimizer.step()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not any(torch.equal(tensor, before[key]) for key, tensor in small.state_dict().items() if tensor.ndim)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_gives_one_answer_of_base_and_sub_model(name):
    answers = []
    for noise in (1, 2):
        network, x = PrunableVGG(base(name, torch.float32), SHAPE), images(dtype=torch.float32)
        torch.manual_seed(noise)  # cutting out draws nothing
        small = network.shrink(network.select_units(random_scores(network), 8), 8, [1, 4], True).eval()
        answers.append((network.model(x), small(x), small(x)))
    (first, second, again), (other_first, other_second, _) = answers
    assert torch.equal(first, other_first) and torch.equal(second, other_second) and torch.equal(second, again)


def test_a_vgg_that_was_not_built_by_name():
    assert isinstance(prunable_network(VGG("vgg11", 3, width=0.125), (3, 32, 32)), PrunableVGG)
