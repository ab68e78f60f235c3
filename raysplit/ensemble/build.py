"""From one classifier to an ensemble of sub-models, stage by stage.

Every stage writes what it made into the build's folder before the next one starts; a build that was stopped goes on
with the stage, the epoch of the base, or the sub-model that it had got to.

    config.json  base/  plan.json  common/K/  submodels/N/  fusion/  summary.json  bundle/
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from safetensors.torch import save
from torch import Tensor, nn

from raysplit.config import EnsembleConfig, loads
from raysplit.ensemble.apoz import with_zeros
from raysplit.ensemble.base import (
    TEACHER,
    WEIGHTS,
    adopt_base,
    facts_of,
    fit_base,
    load_base,
    samples_of_split,
    start_base,
    teach,
)
from raysplit.ensemble.family import family_of
from raysplit.ensemble.fusion import train_fusion
from raysplit.ensemble.plan import Plan, make_plan
from raysplit.ensemble.submodel import load_submodel, make_common, make_submodel
from raysplit.ensemble.summary import SUMMARY, summarise
from raysplit.errors import ConfigError
from raysplit.fit.compute import compiling
from raysplit.fit.loop import Samples, outputs
from raysplit.fit.seeds import mix
from raysplit.storage import Folder

PLAN, FUSION, FUSION_RECORD = "plan.json", "fusion/model.safetensors", "fusion/record.json"


class Runner(Protocol):
    """Where the heavy stages run."""

    def fit_base(self, config: EnsembleConfig, location: str) -> None:
        """Call `raysplit.ensemble.base.fit_base` once, in as many processes as the config asks for."""
        ...

    def each(self, function: Callable[[int], None], indices: Iterable[int], name: Callable[[int], str]) -> None:
        """Call a function for each index, in any order; `name` says what it makes, for people."""
        ...


class Here:
    """Everything in this process, one after the other."""

    def fit_base(self, config: EnsembleConfig, location: str) -> None:
        fit_base(config, Folder.at(location))

    def each(self, function: Callable[[int], None], indices: Iterable[int], name: Callable[[int], str]) -> None:
        for index in indices:
            function(index)
            print(f"{name(index)} is done", flush=True)


def build_ensemble(config: EnsembleConfig, location: str, runner: Runner | None = None) -> dict[str, Any]:
    """Build an ensemble in a folder, or go on with one, and return its summary (docs/ensembles.md).

    Raises ConfigError for a folder that holds a build of another config, for groups or devices that cannot be;
    ModelError for a base that cannot be cut; DataError for data that cannot be used.
    """
    place, runner = Folder.at(location), runner or Here()
    claim(config, place)
    if (done := place.find(SUMMARY)) is not None:
        return json.loads(done)
    classes, shape = facts_of(config.data)
    if not place.has(WEIGHTS):
        checked(config, len(classes), shape)
        if config.base.weights is None:
            runner.fit_base(config, place.location)
        else:
            adopt_base(config, place)
    base = load_base(config, place, len(classes), shape)
    plan = planned(config, place, base)
    if not place.has(TEACHER) and any(fit is not None and fit.distill for fit in (config.common, config.retrain)):
        teach(config, place, base)
    if config.common is not None:
        runner.each(
            _Maker(make_common, config, plan, place.location),
            sorted({seat.k for seat in plan.seats}),
            lambda k: f"the common net that keeps {k}/{plan.steps}",
        )
    runner.each(
        _Maker(make_submodel, config, plan, place.location),
        range(config.n),
        lambda index: f"sub-model {index} of {config.n}",
    )
    fused(config, place, plan)
    return summarise(config, place, plan, base)


def checked(config: EnsembleConfig, classes: int, shape: tuple[int, int, int]) -> Plan:
    """Raise what is wrong with groups, devices, scores or the kind of network, before hours of training.

    Returns the plan; groups by confusion, which no base has told yet, are as those of a base that confuses nothing.
    """
    family = family_of(start_base(config, classes, shape), shape)
    fits = {"base.train": config.base.train, "common": config.common, "retrain": config.retrain}
    for name, fit in fits.items():
        if family.kind != "vit" and fit is not None and fit.optimizer == "muon":
            raise ConfigError(
                f"{name}.optimizer 'muon' is for networks with transformer blocks, not for {config.base.model.name}; "
                "set it to adamw or sgd"
            )
    if config.base.mean is not None and len(config.base.mean) != shape[0]:
        raise ConfigError(
            f"base.mean and base.std have {len(config.base.mean)} numbers, the images of {config.data.name} have "
            f"{shape[0]} channels; give one for each"
        )
    if config.prune.scores == "apoz":
        with_zeros(family)
    plan = make_plan(config, family, shape, torch.zeros(classes, classes, dtype=torch.int64))
    untaught = config.retrain is not None and not config.retrain.distill
    if untaught and any(seat.outputs == 1 for seat in plan.seats):
        raise ConfigError(
            "groups.rest is false and a sub-model has one class: it has nothing to tell apart; set groups.rest to "
            "true, retrain.distill above 0, or retrain to null"
        )
    return plan


def config_of(location: str) -> EnsembleConfig:
    """Return the config of the build in a folder; ConfigError where there is none."""
    found = Folder.at(location).find("config.json")
    if found is None:
        raise ConfigError(
            f"'{location}' is not a build's folder: it has no config.json; name the folder that a build printed"
        )
    return loads(EnsembleConfig, found.decode(), f"{location}/config.json")


def claim(config: EnsembleConfig, place: Folder) -> None:
    """Make a folder this config's; ConfigError where it is another's."""
    if not place.has("config.json"):
        place.write("config.json", config.model_dump_json(indent=2).encode())
    elif not alike(config_of(place.location), config):
        raise ConfigError(
            f"'{place.location}' holds a build of another config; give each build its own folder. "
            f"Its base can be used again: base.weights={place.location}/{WEIGHTS}"
        )


def alike(one: EnsembleConfig, other: EnsembleConfig) -> bool:
    """Return whether two configs say the same as JSON, which knows no tuples."""
    return one.model_dump(mode="json") == other.model_dump(mode="json")


def planned(config: EnsembleConfig, place: Folder, base: nn.Module) -> Plan:
    """Return the plan, made once and kept."""
    found = place.find(PLAN)
    if found is not None:
        return loads(Plan, found.decode(), f"{place.location}/{PLAN}")
    classes, shape = facts_of(config.data)
    val = samples_of_split(config, "val")
    answers = outputs(base, val, config.base.train.precision)[1].argmax(1)
    right = (answers == val.targets).float().mean().item()
    print(f"the base is right on {100 * right:.1f} % of the validation images", flush=True)
    confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    confusion.index_put_((val.targets, answers), torch.tensor(1), accumulate=True)
    plan = make_plan(config, family_of(base, shape), shape, confusion)
    place.write(PLAN, plan.model_dump_json(indent=2).encode())
    return plan


def features_of(
    config: EnsembleConfig, place: Folder, plan: Plan, samples: Samples, augment: str = "none", seed: int = 0
) -> list[Tensor]:
    """Return the features (N, F) of each sub-model."""
    found = []
    for index in range(config.n):
        model: Any = load_submodel(config, plan, index, place)
        if config.fusion.compile:
            model.forward_features = torch.compile(model.forward_features)
        with compiling():
            found.append(outputs(model, samples, augment=augment, seed=seed)[0])
    return found


def fused(config: EnsembleConfig, place: Folder, plan: Plan) -> None:
    """Train the fusion MLP on features of frozen sub-models and write it."""
    if place.has(FUSION_RECORD):
        return
    start, train, val = time.perf_counter(), samples_of_split(config, "train"), samples_of_split(config, "val")
    views = config.fusion.views if config.data.augment != "none" else 1
    seen = [
        features_of(config, place, plan, train, config.data.augment if view else "none", mix(config.seed, "view", view))
        for view in range(views)
    ]
    widths = [features.shape[1] for features in seen[0]]
    fusion, history = train_fusion(
        torch.cat([torch.cat(features, 1) for features in seen]),
        train.targets.repeat(views),
        torch.cat(features_of(config, place, plan, val), 1),
        val.targets,
        widths,
        len(facts_of(config.data)[0]),
        config.fusion,
        mix(config.seed, config.fusion.seed, "fusion"),
    )
    seconds = time.perf_counter() - start
    place.write(FUSION, save({name: value.contiguous() for name, value in fusion.state_dict().items()}))
    place.write(FUSION_RECORD, json.dumps({"widths": widths, "epochs": history, "seconds": seconds}).encode())


class _Maker:
    """A function that makes one net of a build, as something that can be sent to another process."""

    def __init__(
        self,
        make: Callable[[EnsembleConfig, Plan, int, Folder], None],
        config: EnsembleConfig,
        plan: Plan,
        location: str,
    ):
        self._make, self._config, self._plan, self._location = make, config, plan, location

    def __call__(self, index: int) -> None:
        self._make(self._config, self._plan, index, Folder.at(self._location))
