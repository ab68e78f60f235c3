"""The fusion trained on features drawn from Gaussians: each sub-model knows its own two classes, others dimly."""

from __future__ import annotations

import pytest
import torch

from raysplit.config import FusionConfig
from raysplit.ensemble.fusion import Fusion
from raysplit.ensemble.fusion_trainer import FeatureSet, accuracy_without, train_fusion
from raysplit.errors import ConfigError, DivergenceError

WIDTHS, CLASSES = (6, 4, 8), 6
SCALES = (1.0, 100.0, 0.01)
CONFIG = FusionConfig(epochs=12, batch_size=64, lr=5e-3, device="cpu")


def draw(rows: int, seed: int) -> FeatureSet:
    """Return features (rows, 18) with labels; each sub-model's have another scale and are far from 0."""
    fixed, random = torch.Generator().manual_seed(99), torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (rows,), generator=random)
    parts = []
    for i, (width, scale) in enumerate(zip(WIDTHS, SCALES, strict=True)):
        centres = torch.randn(CLASSES, width, generator=fixed)
        centres[2 * i : 2 * i + 2] *= 4
        parts.append((centres[labels] + torch.randn(rows, width, generator=random) + 3) * scale)
    return FeatureSet(torch.cat(parts, 1), labels)


TRAIN, VAL, TEST = draw(1500, 0), draw(300, 1), draw(1000, 2)


def train(seed: int = 0, **changes) -> Fusion:
    return train_fusion(TRAIN, VAL, WIDTHS, CLASSES, CONFIG.replaced(**changes), seed).fusion


@pytest.fixture(scope="module")
def fusion() -> Fusion:
    return train()


def test_it_learns_from_features_of_any_scale(fusion):
    assert not fusion.training
    assert accuracy_without(fusion, TEST, 0) > 0.97


def test_the_history_names_the_epoch_that_is_kept():
    trained = train_fusion(TRAIN, VAL, WIDTHS, CLASSES, CONFIG.replaced(epochs=6, lr=0.05), 0)
    fusion, history = trained.fusion, trained.epochs
    assert [row.epoch for row in history] == list(range(6))
    best = max(row.val_accuracy for row in history)
    assert accuracy_without(fusion, VAL, 0) == best
    least = min(row.val_loss for row in history if row.val_accuracy == best)
    assert torch.nn.functional.cross_entropy(fusion(VAL.features), VAL.labels).item() == pytest.approx(least)
    assert history[-1].loss < history[0].loss


def test_features_are_standardized_by_the_training_images(fusion):
    assert torch.allclose(fusion.mean, TRAIN.features.mean(0), rtol=1e-4)
    assert torch.allclose(fusion.std, TRAIN.features.std(0), rtol=1e-2)


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_a_missing_sub_model_is_its_filling(fill):
    fusion = train(fill=fill, epochs=1)
    x = TEST.features[:5]
    filled = x.clone()
    filled[:, 6:10] = fusion.mean[6:10] if fill == "mean" else 0
    expected = fusion(filled)
    assert torch.equal(fusion(x, torch.tensor([True, False, True])), expected)
    rows = torch.tensor([[True, False, True], [True, True, True]])
    assert torch.allclose(fusion(x[:2], rows), torch.stack([expected[0], fusion(x[1:2])[0]]), rtol=1e-5, atol=1e-5)
    broken = x.clone()
    broken[:, 6:10] = float("nan")
    assert torch.equal(fusion(broken, torch.tensor([True, False, True])), expected), "its features are not looked at"
    assert torch.equal(fusion(x, torch.ones(3, dtype=torch.bool)), fusion(x))


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_feature_dropout_makes_a_lost_sub_model_cheaper(fill):
    for seed in range(2):
        with_, without = train(seed, fill=fill, feature_dropout=0.3), train(seed, fill=fill, feature_dropout=0.0)
        assert accuracy_without(with_, TEST, 1) > accuracy_without(without, TEST, 1) + 0.01
        assert accuracy_without(with_, TEST, 0) > accuracy_without(without, TEST, 0) - 0.02


def test_the_seed_decides_and_nothing_else():
    torch.manual_seed(5)
    one = train(3, epochs=2, feature_dropout=0.2).state_dict()
    torch.manual_seed(6)
    before = torch.get_rng_state()
    two = train(3, epochs=2, feature_dropout=0.2).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = train(4, epochs=2, feature_dropout=0.2).state_dict()
    assert not torch.equal(one["layers.0.weight"], other["layers.0.weight"])


def test_a_state_dict_is_all_that_is_needed(fusion):
    other = Fusion(WIDTHS, CLASSES, CONFIG.layers, CONFIG.fill)
    other.load_state_dict(fusion.state_dict())
    present = torch.tensor([True, True, False])
    assert torch.equal(other(TEST.features, present), fusion(TEST.features, present))


def test_accuracy_without_is_the_mean_over_the_choices(fusion):
    shares = []
    for missing in range(3):
        logits = fusion(TEST.features, torch.arange(3) != missing)
        shares.append((logits.argmax(1) == TEST.labels).double().mean().item())
    assert accuracy_without(fusion, TEST, 1) == pytest.approx(sum(shares) / 3)
    assert accuracy_without(fusion, TEST, 2) < accuracy_without(fusion, TEST, 1) < accuracy_without(fusion, TEST, 0)


def test_many_choices_are_sampled_alike_each_time():
    fusion = Fusion((2,) * 40, 3, 2, "mean").eval()
    calls = []
    fusion.register_forward_pre_hook(lambda module, args: calls.append(tuple(args[1].tolist())))
    features, labels = torch.randn(20, 80), torch.zeros(20, dtype=torch.int64)
    first = accuracy_without(fusion, FeatureSet(features, labels), 3)
    assert len(set(calls)) == 50 and all(sum(present) == 37 for present in calls)
    assert accuracy_without(fusion, FeatureSet(features, labels), 3) == first


@pytest.mark.parametrize("lost", [-1, 3])
def test_not_all_can_be_lost(fusion, lost):
    with pytest.raises(ConfigError, match=f"^{lost} of 3 sub-models cannot be lost; at least one must be left$"):
        accuracy_without(fusion, TEST, lost)


def test_one_sub_model_and_fewer_rows_than_a_batch():
    few = FeatureSet(TRAIN.features[:40, :6], TRAIN.labels[:40])
    config = CONFIG.replaced(feature_dropout=0.5, epochs=2)
    trained = train_fusion(few, few, (6,), CLASSES, config, 0)
    assert len(trained.epochs) == 2 and trained.fusion(few.features).shape == (40, CLASSES)


@pytest.mark.parametrize("changes", [{"optimizer": "sgd", "lr": 0.05}, {"precision": "bf16"}, {"label_smoothing": 0.1}])
def test_the_settings_of_a_fit_count(fusion, changes):
    other = train(**changes)
    assert not torch.equal(other.state_dict()["layers.0.weight"], fusion.state_dict()["layers.0.weight"])
    assert accuracy_without(other, TEST, 0) > 0.95


def test_a_loss_that_is_not_a_number_is_not_kept():
    with pytest.raises(DivergenceError, match=r"^the fusion has diverged in epoch 1, step 2/\d+: the loss is .*; set"):
        train(optimizer="sgd", lr=1e30)
