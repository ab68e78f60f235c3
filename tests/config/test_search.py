"""The config of a search: objectives that its kind of recipe has."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from raysplit import recipes
from raysplit.config.search import ENSEMBLE_OBJECTIVES, SPLIT_OBJECTIVES, SearchConfig
from raysplit.records.trial import OBJECTIVES
from tests.search.searches import PLATFORM

SPLIT, ENSEMBLE = recipes.get("mnist5k_vgg11_uncompressed"), recipes.get_ensemble("mnist5k_vit_n3")


def test_objectives_have_directions():
    search = SearchConfig(recipe=ENSEMBLE, space="x", objectives=("accuracy", "mib"), **PLATFORM)
    assert search.directions == {"accuracy": "max", "mib": "min"}
    assert search.platform.device == search.device and search.platform.link == search.link


@pytest.mark.parametrize(
    ("recipe", "objectives", "message"),
    [
        (SPLIT, ["accuracy", "mib"], "no objective 'mib'"),
        (ENSEMBLE, ["acuracy"], "no objective 'acuracy'. Nearest: accuracy"),
        (SPLIT, ["bytes", "bytes"], "named twice: bytes, bytes"),
        (SPLIT, [], "at least 1 item"),
    ],
)
def test_objectives_that_are_refused(recipe, objectives, message):
    with pytest.raises(ValidationError, match=message):
        SearchConfig(recipe=recipe, space="x", objectives=objectives, **PLATFORM)


def test_records_keep_every_objective():
    assert set(OBJECTIVES) == {*SPLIT_OBJECTIVES, *ENSEMBLE_OBJECTIVES}
