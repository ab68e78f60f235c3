"""Plans without training, for every recipe."""

from __future__ import annotations

import pytest

from raysplit import recipes
from raysplit.errors import ConfigError, CutError, DataError, ModelError
from raysplit.train.plan import check, plan
from raysplit.train.seeds import mix, seeded


def test_a_plan_says_what_a_run_will_cost(squeezed):
    made = plan(squeezed)
    text = str(made)
    assert made.steps == 3 and made.step_seconds > 0
    assert "level    c2·b4/b4·zstd: " in text and "B up" in text and "1 epochs" in text
    assert "cut at features.7: 16×2×2 per image" in text
    assert "traffic" in text and "at most" in text and "time     about" in text


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"cut": "features.99"}, CutError, "features.99.*Nearest"),
        ({"model": {"name": "vgg12"}}, ModelError, "vgg12.*Nearest.*vgg1"),
        ({"data": {"name": "mnist5"}}, DataError, "mnist5.*mnist5k"),
        ({"schedule": {"kind": "fixed", "level": "c99.b4/b4"}}, ConfigError, "keeps 99 channels, 16 cross"),
        ({"bottleneck": {"stride": 2}, "cut": "classifier.1"}, ConfigError, "stride=2 needs a"),
    ],
)
def test_faults_show_before_anything_is_trained(squeezed, change, error, text):
    with pytest.raises(error, match=text):
        check(squeezed.replaced(**change))


def test_a_torch_device_that_is_not_here(squeezed):
    with pytest.raises(ConfigError, match="train.device 'nonsense' cannot be used here"):
        check(squeezed.replaced(train=squeezed.train.replaced(device="nonsense")))


def test_data_that_only_the_device_has_are_left_to_it(squeezed):
    check(squeezed.replaced(data=squeezed.data.replaced(name="parquet:/only/on/the/device")))


@pytest.mark.parametrize("name", [name for name in recipes.names() if "imagenet" not in name or name.endswith("r1")])
def test_every_recipe_has_a_plan(name, monkeypatch):
    # The time of a step is measured elsewhere; here it would be most of the test's.
    monkeypatch.setattr("raysplit.train.plan._time_step", lambda *_: 0.0)
    assert f"recipe   {name}\n" in str(plan(recipes.get(name)))


def test_seeds_are_stable_and_leave_the_callers_stream_alone():
    import torch

    assert mix(0, "device", 1) == mix(0, "device", 1) != mix(0, "server", 1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded(7, torch.device("cpu")):
        first = torch.rand(3)
    with seeded(7, torch.device("cpu")):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)
