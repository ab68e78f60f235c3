"""From one classifier to an ensemble of sub-models, stage by stage.

Every stage writes what it made into the build's folder before the next one starts; a build that was stopped goes on
with the stage, the epoch of the base, or the sub-model that it had got to.

    config.json  data.json  base/  plan.json  common/K/  submodels/N/  fusion/  summary.json  bundle/
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from safetensors.torch import save
from torch import Tensor, nn

from raysplit.config import EnsembleConfig, loads
from raysplit.data import load
from raysplit.ensemble.check import checked
from raysplit.ensemble.classifier import (
    TEACHER,
    WEIGHTS,
    adopt_base,
    facts_of,
    fit_base,
    load_base,
    samples_of_split,
    teach,
)
from raysplit.ensemble.fusion import train_fusion
from raysplit.ensemble.plan import Plan, make_plan
from raysplit.ensemble.prunable.base import prunable_network
from raysplit.ensemble.submodel import load_submodel, make_common, make_submodel
from raysplit.ensemble.summary import SUMMARY, summarise
from raysplit.ensemble.trainer import Samples, outputs
from raysplit.errors import ConfigError, DataError
from raysplit.torch_utils.compute import compiling
from raysplit.torch_utils.seeds import mix
from raysplit.utils.storage import Folder

CONFIG, DATA, PLAN = "config.json", "data.json", "plan.json"
FUSION, FUSION_RECORD = "fusion/model.safetensors", "fusion/record.json"


class Runner(Protocol):
    """Where the heavy stages run."""

    def fit_base(self, config: EnsembleConfig, location: str) -> None:
        """Call `raysplit.ensemble.classifier.fit_base` once, in as many processes as the config asks for."""
        ...

    def each(self, function: Callable[[int], None], indices: Iterable[int], name: Callable[[int], str]) -> None:
        """Call a function for each index, in any order; `name` says what it makes, for people."""
        ...


class LocalRunner:
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
    ModelError for a base that cannot be cut, or what has diverged; DataError for data that cannot be used, or that is
    not what the build was begun with.
    """
    place, runner = Folder.at(location), runner or LocalRunner()
    _refuse_another(config, place)
    if (done := place.find(SUMMARY)) is not None:
        return json.loads(done)
    classes, shape = facts_of(config.data)
    if new := not place.has(WEIGHTS):
        checked(config, len(classes), shape)
    claim(config, place)
    _same_data(config, place)
    if new:
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
    fuse(config, place, plan)
    return summarise(config, place, plan, base)


def config_of(location: str) -> EnsembleConfig:
    """Return the config of the build in a folder; ConfigError where there is none."""
    found = Folder.at(location).find(CONFIG)
    if found is None:
        raise ConfigError(
            f"'{location}' is not a build's folder: it has no {CONFIG}; name the folder that a build printed"
        )
    return loads(EnsembleConfig, found.decode(), f"{location}/{CONFIG}")


def claim(config: EnsembleConfig, place: Folder) -> None:
    """Make a folder this config's; ConfigError where it is another's."""
    _refuse_another(config, place)
    if not place.has(CONFIG):
        place.write(CONFIG, config.model_dump_json(indent=2).encode())


def _refuse_another(config: EnsembleConfig, place: Folder) -> None:
    if place.has(CONFIG) and not alike(config_of(place.location), config):
        base = f". Its base can be used again: base.weights={place.location}/{WEIGHTS}" if place.has(WEIGHTS) else ""
        raise ConfigError(f"'{place.location}' holds a build of another config; give each build its own folder{base}")


def _same_data(config: EnsembleConfig, place: Folder) -> None:
    """Keep the labels' hashes when a build begins; DataError for one that goes on with others.

    Kept logits belong to rows, and which rows validate depends on their number.
    """
    labels = {split: load(config.data, split).labels.numpy() for split in ("train", "val", "test")}
    now = {split: {"rows": len(y), "sha256": hashlib.sha256(y.tobytes()).hexdigest()} for split, y in labels.items()}
    found = place.find(DATA)
    if found is None:
        place.write(DATA, json.dumps(now, indent=2).encode())
    elif (before := json.loads(found)) != now:
        split = next(split for split in now if before[split] != now[split])
        raise DataError(
            f"{config.data.name} is not the data that '{place.location}' was begun with: the {split} split has "
            f"{now[split]['rows']} images and had {before[split]['rows']}, or other labels; bring that data back, or "
            "begin a new build"
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
    plan = make_plan(config, prunable_network(base, shape), shape, confusion)
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


def fuse(config: EnsembleConfig, place: Folder, plan: Plan) -> None:
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
