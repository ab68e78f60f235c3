"""One sub-model: score the base's units on its own classes, cut them out, learn again."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import torch
from safetensors.torch import save
from torch import Tensor, nn

from raysplit.config import EnsembleConfig, GroupsConfig
from raysplit.data.batches import generator
from raysplit.ensemble.base import facts_of, load_base, samples_of_split, teach
from raysplit.ensemble.family import Family, family_of
from raysplit.ensemble.groups import samples_of
from raysplit.ensemble.plan import Plan, Seat
from raysplit.ensemble.precision import at_precision, pack, unpack
from raysplit.ensemble.scores import score
from raysplit.errors import ConfigError, DataError
from raysplit.fit.loop import Fit, Objective, Samples, outputs
from raysplit.fit.seeds import mix, seeded
from raysplit.models import build
from raysplit.storage import Folder


def folder_of(index: int) -> str:
    """Return the folder of a sub-model in a build's folder."""
    return f"submodels/{index}"


def make_submodel(config: EnsembleConfig, plan: Plan, index: int, place: Folder) -> None:
    """Write `scores.safetensors`, `model.safetensors` and `record.json` of one sub-model; done, it is left alone."""
    folder = folder_of(index)
    if place.has(f"{folder}/record.json"):
        return
    start = time.perf_counter()
    seat = plan.seats[index]
    classes, shape = facts_of(config.data)
    base, train = load_base(config, place, len(classes), shape), samples_of_split(config, "train")
    family = family_of(base, shape)
    kept = place.find(f"{folder}/scores.safetensors")
    scores = _scores(config, seat, family, train, index) if kept is None else unpack(kept, "scores.safetensors")
    place.write(f"{folder}/scores.safetensors", save(scores))
    with seeded(mix(config.seed, "submodel", index), torch.device("cpu")):
        model = family.shrink(family.choose(scores, seat.k), seat.k, seat.classes, seat.rest)
    scored_s, rows = time.perf_counter() - start, []
    if config.retrain is not None and (seat.outputs > 1 or config.retrain.distill):
        rows = _retrain(
            config, seat, model, train, teach(config, place, base) if config.retrain.distill else None, index
        )
    place.write(f"{folder}/model.safetensors", pack(model.state_dict(), config.precision))
    record = {"score_s": scored_s, "seconds": time.perf_counter() - start, "epochs": rows}
    place.write(f"{folder}/record.json", json.dumps(record).encode())


def load_submodel(config: EnsembleConfig, plan: Plan, index: int, place: Folder) -> nn.Module:
    """Return a sub-model as its file has it, in eval mode, in the dtype that its precision computes in."""
    seat, name = plan.seats[index], f"{folder_of(index)}/model.safetensors"
    data = place.find(name)
    if data is None:
        raise ConfigError(f"'{place.location}' has no {name}; go on with --resume {place.location}")
    model = build(seat.model, seat.outputs, plan.shape)
    model.load_state_dict(unpack(data, name))
    return at_precision(model, config.precision)


def shown(train: Samples, seat: Seat, groups: GroupsConfig, seed: int, epoch: int) -> Samples:
    """Return the training images that a sub-model sees in an epoch: all of its own classes, and a draw of the rest."""
    draw = mix(seed, "draw", epoch if groups.redraw else 0)
    rows, targets = samples_of(train.targets, seat.classes, seat.of, seat.rest, groups.negatives, draw)
    teacher = None if train.teacher is None else train.teacher[rows]
    return replace(train, images=train.images[rows], targets=targets, teacher=teacher)


def _scores(config: EnsembleConfig, seat: Seat, family: Family, train: Samples, index: int) -> dict[str, Tensor]:
    own = torch.isin(train.targets, torch.tensor(seat.classes)).nonzero().flatten()
    if not len(own):
        raise DataError(f"{config.data.name} has no training image of the classes of sub-model {index}")
    chosen = own[torch.randperm(len(own), generator=generator("proxy", config.seed, index))[: config.prune.proxy]]
    return score(config.prune.scores, family, train.batch(chosen), mix(config.seed, "scores", index))


def _retrain(
    config: EnsembleConfig, seat: Seat, model: nn.Module, train: Samples, teacher: Tensor | None, index: int
) -> list[dict[str, float]]:
    assert config.retrain is not None
    fit_config = config.retrain.replaced(seed=mix(config.seed, config.retrain.seed, "retrain", index) % 2**31)
    train = replace(train, teacher=teacher)
    objective = Objective(model, fit_config.label_smoothing, fit_config.distill, fit_config.temperature)
    if teacher is not None:
        width = outputs(model, Samples(train.images[:1], train.targets[:1], train.mean, train.std))[0].shape[1]
        with seeded(mix(config.seed, "probe", index), torch.device("cpu")):
            objective.with_probe(width, seat.of)

    def samples(epoch: int) -> Samples:
        return shown(train, seat, config.groups, fit_config.seed, epoch)

    return list(Fit(objective, samples, fit_config, config.data.augment).epochs())
