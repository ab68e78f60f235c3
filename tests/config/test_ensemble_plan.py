"""Plans on disk keep the keys of older versions; in Python they have clearer names."""

from __future__ import annotations

import json

import pytest

from raysplit.config import loads
from raysplit.config.ensemble_plan import EnsemblePlan, SubmodelSpec
from raysplit.errors import ConfigError
from raysplit.recipes import get_ensemble

SEAT = {
    "classes": [0, 3],
    "of": 4,
    "rest": True,
    "k": 2,
    "model": {"name": "vit", "args": {"width": 8}},
    "params": 10,
    "file_bytes": 40,
    "flops": 100,
    "device": None,
}
PLAN = {"kind": "vit", "steps": 3, "shape": [1, 8, 8], "seats": [SEAT, SEAT | {"k": 1}], "loads": []}


def test_it_is_read_and_written_with_the_keys_on_disk():
    plan = loads(EnsemblePlan, json.dumps(PLAN), "plan.json")
    assert plan.size_steps == 3 and plan.sizes == [1, 2]
    first = plan.submodels[0]
    assert first.total_classes == 4 and first.outputs == 3
    assert json.loads(plan.model_dump_json(by_alias=True)) == PLAN


def test_fields_are_set_by_their_names_in_python():
    spec = SubmodelSpec.model_validate(SEAT).replaced(total_classes=9, rest=False)
    assert spec.total_classes == 9 and spec.outputs == 2


def test_an_unknown_key_is_refused_with_the_nearest_one_on_disk():
    with pytest.raises(ConfigError, match=r"unknown key 'seat'\. Nearest: seats"):
        loads(EnsemblePlan, json.dumps(PLAN | {"seat": []}), "plan.json")


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        (["base.weights=a.pth", "base.pretrained=b.pth"], "base.weights and base.pretrained are set; .*: set only one"),
        (["base.weights=a.pth", "base.model.weights=b.pth"], "base.weights and base.model.weights are set"),
        (["base.pretrained=a.pth", "base.model.pretrained=true"], "base.pretrained and base.model.pretrained are set"),
        (["base.weights=a.pth", "base.freeze=[head.*]"], "base.freeze has no effect; set base.freeze to"),
        (["base.model.normalize=auto", "base.mean=[0.5]", "base.std=[0.5]"], "both say how to normalize"),
    ],
)
def test_a_base_starts_one_way(settings, remedy):
    with pytest.raises(ConfigError, match=remedy):
        get_ensemble("mnist5k_vit_n3").with_settings(settings)
