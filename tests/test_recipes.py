from __future__ import annotations

from pathlib import Path

import pytest

from raysplit import recipes
from raysplit.config import UNCOMPRESSED, Deprune, EnsembleConfig, Prune, SplitConfig, loads
from raysplit.errors import ConfigError


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_is_named_for_itself_and_survives_json(name):
    config = recipes.get(name)
    assert config.name == name
    assert loads(SplitConfig, config.model_dump_json(), where=name) == config
    assert name.startswith(f"{config.data.name}_{config.model.name}_")


def test_the_papers_settings():
    """Mudvari et al. 2024, deprune: CIFAR-10 15 + 7 epochs at 1e-2, ImageNet-100 25 + 12 at 1e-3, batch 16."""
    for data, tight, loose, rate in (("cifar10", 15, 7, 1e-2), ("imagenet100", 25, 12, 1e-3)):
        for stride in (1, 2, 3):
            config = recipes.get(f"{data}_vgg11_deprune_paper_r{stride}")
            assert isinstance(config.schedule, Deprune)
            assert [phase.share for phase in config.schedule.phases] == [tight, loose]
            assert config.schedule.phases[0].level.channels == 4 and config.schedule.phases[0].level.up_bits == 16
            assert config.schedule.phases[1].level == UNCOMPRESSED
            assert config.train.epochs == tight + loose and config.train.lr == rate
            assert config.train.momentum == 0 and config.train.batch_size == 16
            assert config.bottleneck.stride == stride and config.bottleneck.mode == "paper"
            assert config.train.weight_decay == 5e-4 and config.train.lr_schedule == "constant"


def test_the_papers_families():
    """Mudvari et al. 2024, prune: CIFAR-10 30 + 10 + 10 epochs, STL-10 30 + 15 + 15, momentum 0.9, 1e-3."""
    for data, epochs in (("cifar10", [30, 10, 10]), ("stl10", [30, 15, 15])):
        config = recipes.get(f"{data}_vgg11_prune_paper")
        assert isinstance(config.schedule, Prune)
        assert [stage.share for stage in config.schedule.phases] == epochs and config.train.epochs == sum(epochs)
        assert [str(level) for level in config.levels()] == ["all·b32/b32", "c32·b16/b16", "c4·b16/b16"]
        assert {stage.lr_scale for stage in config.schedule.phases} == {1.0}
        assert (config.train.lr, config.train.momentum, config.train.batch_size) == (1e-3, 0.9, 16)
        assert config.train.lr_schedule == "constant" and config.bottleneck.mode == "paper"
        ours = recipes.get(f"{data}_vgg11_prune_raysplit")
        assert ours.schedule == config.schedule and ours.train.lr_schedule == "cosine"


def test_unknown_name():
    with pytest.raises(
        ConfigError, match=r"no recipe is called 'mnist5k_vgg11_deprun'\. Nearest: mnist5k_vgg11_deprune"
    ):
        recipes.get("mnist5k_vgg11_deprun")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (recipes.get("mnist5k_vgg11_deprune"), "mnist5k_vgg11_deprune is a config already, which needs no recipe()"),
        (lambda: None, "this is an object of function; call the function, it returns the config"),
        (Path("mine.json"), "a recipe is a name, path.py:function or a .json file, as text; this is an object of"),
        (None, "this is an object of NoneType"),
        (["mnist5k_vgg11_deprune"], "this is an object of list"),
        ({}, "this is an object of dict"),
        ("", "this is empty text"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_name(given, text):
    for get in (recipes.get, recipes.get_ensemble, recipes.get_any):
        with pytest.raises(ConfigError) as caught:
            get(given)
        assert text in str(caught.value) and "\n" not in str(caught.value)


def test_a_users_recipe(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from raysplit.recipes import get\n"
        "def tiny():\n    return get('mnist5k_vgg11_deprune').replaced(name='tiny')\n"
        "def wrong():\n    return 3\n"
    )
    assert recipes.get(f"{path}:tiny").name == "tiny"
    with pytest.raises(ConfigError, match="returned int; a recipe returns a SplitConfig"):
        recipes.get(f"{path}:wrong")


@pytest.mark.parametrize("name", recipes.ensemble_names())
def test_every_ensemble_recipe_is_named_for_itself_and_survives_json(name):
    config = recipes.get_ensemble(name)
    assert config.name == name and loads(EnsembleConfig, config.model_dump_json(), where=name) == config
    assert name.startswith(f"{config.data.name}_") and name.endswith(f"_n{config.n}")


def test_a_recipe_of_the_other_kind_names_its_job():
    with pytest.raises(ConfigError, match="is for jobs/build_ensemble.py"):
        recipes.get("mnist5k_vit_n3")


def test_a_recipe_file(tmp_path):
    file = tmp_path / "found.json"
    with pytest.raises(ConfigError, match="recipe file .* does not exist"):
        recipes.get(str(file))
    config = recipes.get("mnist5k_vgg11_deprune")
    file.write_text(config.model_dump_json())
    assert recipes.get(str(file)) == config == recipes.get_any(str(file))
    with pytest.raises(ConfigError, match=r"found.json: .*unknown key"):
        recipes.get_ensemble(str(file))
    file.write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        recipes.get(str(file))
