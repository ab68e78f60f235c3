"""Spaces: points as configs, and files that are refused before a trial starts."""

from __future__ import annotations

import random

import pytest

from raysplit.errors import ConfigError
from raysplit.search.space import Space
from tests.search.searches import base_recipe, make_search


def make_space(tmp_path, *text: str) -> Space:
    return Space(make_search(tmp_path, *text).space, base_recipe())


def make_file(body: str, recipe: str = "") -> str:
    return f"from ray import tune\n{recipe}\ndef param_space(base):\n    return {body}\n"


def test_a_point_is_a_config(tmp_path):
    space = make_space(tmp_path)
    config = space.build_config({"cut": "features.3", "schedule.level.up_bits": 2})
    assert config.cut == "features.3" and config.levels()[0].up_bits == 2
    assert len(list(space.points())) == 4


def test_arguments_of_the_files_recipe_function_are_keys(tmp_path):
    recipe = "def recipe(base, *, twice):\n    return base.replaced(train=base.train.replaced(epochs=2 * twice))"
    space = make_space(tmp_path, make_file('{"twice": tune.randint(1, 4), "cut": tune.choice(["features.3"])}', recipe))
    assert space.build_config({"twice": 3, "cut": "features.3"}).train.epochs == 6
    assert [point["twice"] for point in space.points()] == [1, 2, 3]


def test_an_infinite_space_has_no_list_of_points(tmp_path):
    space = make_space(tmp_path, make_file('{"train.lr": tune.loguniform(0.001, 0.1)}'))
    assert space.points() is None and space.sample_points(5, random.Random(0)) == []


def test_a_large_space_is_sampled(tmp_path):
    keys = ", ".join(f'"{key}": tune.choice(list(range(1, 61)))' for key in ("train.batch_size", "train.epochs"))
    space = make_space(tmp_path, make_file(f"{{{keys}}}"))
    points = space.sample_points(100, random.Random(0))
    assert len(points) == 100 and len({point["train.batch_size"] for point in points}) > 20
    assert len(space.sample_points(3600, random.Random(0))) == 3600


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (make_file("{}"), "must return a dict of Tune's domains, not {}"),
        (make_file('{"cut": ["features.3"]}'), "cut is .*; use tune.choice"),
        (make_file('{"cut": tune.choice(["features.3"])}', "def recipe(base, *, bits): ..."), "takes bits, which"),
        (make_file('{"train.epochs": tune.choice([0])}'), "train.epochs: Input should be greater"),
        ("", "has no function 'param_space'"),
    ],
)
def test_a_file_that_is_not_a_space(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        make_space(tmp_path, text)
