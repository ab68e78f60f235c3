"""One sub-model: score the base's units on its own classes, cut them out, learn again.

With `config.common` one net of all classes is made so for each size, and the sub-models of that size start from it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace

import torch
from safetensors.torch import save
from torch import Tensor, nn

from raysplit.config import EnsembleConfig, GroupsConfig, Precision, RetrainConfig
from raysplit.ensemble.class_groups import samples_of
from raysplit.ensemble.classifier import facts_of, load_base, samples_of_split, teach
from raysplit.ensemble.importance import score
from raysplit.ensemble.plan import Plan, SubmodelSpec
from raysplit.ensemble.prunable.base import PrunableNetwork, prunable_network
from raysplit.ensemble.trainer import Fit, Objective, Samples, outputs
from raysplit.ensemble.weights_file import at_precision, pack, unpack
from raysplit.errors import ConfigError, DataError
from raysplit.models import build
from raysplit.torch_utils.seeds import generator, mix, seeded
from raysplit.utils.storage import Folder


@dataclass(frozen=True)
class Net:
    """A net that is cut out of the base: which one, where it is written, how it learns again."""

    seat: SubmodelSpec
    key: int | str
    """Tells its random draws from those of the others."""
    name: str
    """For people."""
    folder: str
    """In the build's folder."""
    fit: RetrainConfig | None
    precision: Precision

    @staticmethod
    def submodel(config: EnsembleConfig, plan: Plan, index: int) -> Net:
        seat, folder = plan.seats[index], f"submodels/{index}"
        return Net(seat, index, f"sub-model {index}", folder, config.retrain, config.precision)

    @staticmethod
    def common(config: EnsembleConfig, plan: Plan, k: int) -> Net:
        """Return the net of step k that knows all classes, in float32."""
        seat = next(seat for seat in plan.seats if seat.k == k)
        every = seat.replaced(classes=tuple(range(seat.of)), rest=False)
        return Net(
            every, f"common {k}", f"the common net that keeps {k}/{plan.steps}", f"common/{k}", config.common, "fp32"
        )


def make_common(config: EnsembleConfig, plan: Plan, k: int, place: Folder) -> None:
    """Write the net that the sub-models of step k start from, as `make_submodel` writes one of them."""
    _make(config, plan, Net.common(config, plan, k), None, place)


def make_submodel(config: EnsembleConfig, plan: Plan, index: int, place: Folder) -> None:
    """Write `scores.safetensors`, `model.safetensors` and `record.json` of one sub-model; done, it is left alone.

    With `config.common` it starts from that net, which must be there, and has no scores of its own.
    """
    net = Net.submodel(config, plan, index)
    common = None if config.common is None else Net.common(config, plan, net.seat.k)
    _make(config, plan, net, common, place)


def load_submodel(config: EnsembleConfig, plan: Plan, index: int, place: Folder) -> nn.Module:
    """Return a sub-model as its file has it, in eval mode, in the dtype that its precision computes in."""
    return _load(Net.submodel(config, plan, index), plan, place)


def shown(train: Samples, seat: SubmodelSpec, groups: GroupsConfig, seed: int, epoch: int) -> Samples:
    """Return the training images that a sub-model sees in an epoch: all of its own classes, and a draw of the rest."""
    draw = mix(seed, "draw", epoch if groups.redraw else 0)
    rows, targets = samples_of(train.targets, seat.classes, seat.of, seat.rest, groups.negatives, draw)
    teacher = None if train.teacher is None else train.teacher[rows]
    return replace(train, images=train.images[rows], targets=targets, teacher=teacher)


def _make(config: EnsembleConfig, plan: Plan, net: Net, common: Net | None, place: Folder) -> None:
    """Cut a net out of the base, or out of `common`, of which it keeps all but the head; retrain it and write it."""
    if place.has(f"{net.folder}/record.json"):
        return
    start, seat = time.perf_counter(), net.seat
    classes, shape = facts_of(config.data)
    base, train = load_base(config, place, len(classes), shape), samples_of_split(config, "train")
    own = torch.isin(train.targets, torch.tensor(seat.classes)).nonzero().flatten()
    if not len(own):
        raise DataError(f"{config.data.name} has no training image of the classes of {net.name}")
    if common is None:
        family, k = prunable_network(base, shape), seat.k
        kept = family.choose(_scores(config, net, family, train, own, place), k)
    else:
        family = prunable_network(_load(common, plan, place), shape)
        k, kept = family.steps, {group: torch.arange(count) for group, count in family.units().items()}
    model = family.shrink(kept, k, seat.classes, seat.rest)
    scored_s, rows = time.perf_counter() - start, []
    if net.fit is not None:
        taught = replace(train, teacher=teach(config, place, base)) if net.fit.distill else train
        rows = _retrain(config, net, net.fit, model, taught)
    place.write(f"{net.folder}/model.safetensors", pack(model.state_dict(), net.precision))
    record = {"score_s": scored_s, "seconds": time.perf_counter() - start, "epochs": rows}
    place.write(f"{net.folder}/record.json", json.dumps(record).encode())


def _load(net: Net, plan: Plan, place: Folder) -> nn.Module:
    name = f"{net.folder}/model.safetensors"
    data = place.find(name)
    if data is None:
        raise ConfigError(f"'{place.location}' has no {name}; go on with --resume {place.location}")
    model = build(net.seat.model, net.seat.outputs, plan.shape)
    model.load_state_dict(unpack(data, name))
    return at_precision(model, net.precision)


def _scores(
    config: EnsembleConfig, net: Net, family: PrunableNetwork, train: Samples, own: Tensor, place: Folder
) -> dict[str, Tensor]:
    name = f"{net.folder}/scores.safetensors"
    if (found := place.find(name)) is not None:
        return unpack(found, name)
    chosen = own[torch.randperm(len(own), generator=generator("proxy", config.seed, net.key))[: config.prune.proxy]]
    scores = score(config.prune.scores, family, train.batch(chosen), mix(config.seed, "scores", net.key))
    place.write(name, save(scores))
    return scores


def _retrain(
    config: EnsembleConfig, net: Net, settings: RetrainConfig, model: nn.Module, train: Samples
) -> list[dict[str, float]]:
    fit_config = settings.replaced(seed=mix(config.seed, settings.seed, "retrain", net.key) % 2**31)
    objective = Objective(model, fit_config.label_smoothing, fit_config.distill, fit_config.temperature)
    if train.teacher is not None:
        width = outputs(model, Samples(train.images[:1], train.targets[:1], train.mean, train.std))[0].shape[1]
        with seeded(mix(config.seed, "probe", net.key), torch.device("cpu")):
            objective.with_probe(width, net.seat.of)

    def samples(epoch: int) -> Samples:
        return shown(train, net.seat, config.groups, fit_config.seed, epoch)

    return list(Fit(objective, samples, fit_config, config.data.augment, name=net.name).epochs())
