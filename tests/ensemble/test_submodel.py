"""How the networks of a build are made: where they are written and what they are called."""

from __future__ import annotations

import pytest

from raysplit.config import RetrainConfig
from raysplit.config.ensemble_plan import EnsemblePlan, SubmodelSpec
from raysplit.ensemble.submodel import SubmodelTask
from tests.ensemble.tiny_build import FIT, VIT, config


@pytest.fixture
def plan():
    specs = tuple(
        SubmodelSpec(
            classes=classes, total_classes=4, rest=True, k=k, model=VIT, params=1, file_bytes=1, flops=1, device=None
        )
        for classes, k in (((0, 2), 1), ((1, 3), 2))
    )
    return EnsemblePlan(kind="vit", size_steps=3, shape=(1, 8, 8), submodels=specs)


def test_a_sub_model_is_made_as_planned(plan):
    given = config(precision="int8")
    task = SubmodelTask.submodel(given, plan, 1)
    assert task.spec == plan.submodels[1] and task.spec.outputs == 3
    assert (task.name, task.files.weights) == ("sub-model 1", "submodels/1/model.safetensors")
    assert (task.retrain, task.precision) == (given.retrain, "int8")


def test_a_common_network_knows_all_classes_and_stays_in_fp32(plan):
    given = config(precision="int8", common=RetrainConfig(**FIT))
    task = SubmodelTask.common(given, plan, 2)
    assert task.spec.classes == (0, 1, 2, 3) and not task.spec.rest and task.spec.k == 2
    assert (task.name, task.files.folder) == ("the common network that keeps 2/3", "common/2")
    assert (task.retrain, task.precision) == (given.common, "fp32")
    assert task.seed_key != SubmodelTask.submodel(given, plan, 1).seed_key
