"""The base: trained epoch by epoch in a folder, or read from a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from raysplit.config import DataConfig, EnsembleConfig
from raysplit.data import load, mean_std
from raysplit.ensemble.trainer import Fit, Objective, Samples, outputs
from raysplit.ensemble.weights_file import unpack
from raysplit.errors import ConfigError, ModelError, nearest
from raysplit.models import build
from raysplit.torch_utils.checkpoint import pack_state, unpack_state
from raysplit.torch_utils.seeds import mix, seeded
from raysplit.utils.storage import Folder

WEIGHTS, STATE, RECORD, TEACHER = (
    "base/model.safetensors",
    "base/state.pt",
    "base/record.json",
    "base/logits.safetensors",
)


def samples_of_split(config: EnsembleConfig, split: str) -> Samples:
    """Return a split of the data, normalised as the base wants it."""
    images = load(config.data, split)  # type: ignore[arg-type]
    mean, std = normalisation(config)
    return Samples(images.images, images.labels, mean, std)


def normalisation(config: EnsembleConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel, in 0..1: the config's, or those of the training images."""
    if config.base.mean is not None and config.base.std is not None:
        return config.base.mean, config.base.std
    return mean_std(load(config.data, "train").images)


def new_base(config: EnsembleConfig, classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Return the base as it is before training."""
    with seeded(mix(config.seed, "base"), torch.device("cpu")):
        return build(config.base.model, classes, shape)


def fit_base(
    config: EnsembleConfig,
    place: Folder,
    rank: int = 0,
    world: int = 1,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    watch: Callable[[str], None] = print,
) -> None:
    """Train the base, or go on from its last epoch, and write it; each of `world` processes calls this.

    Raises DataError for data that cannot be used, ModelError for a model that cannot be built or a loss that diverges.
    """
    samples, val = samples_of_split(config, "train"), samples_of_split(config, "val")
    classes, shape = facts_of(config.data)
    objective = Objective(start_base(config, len(classes), shape), config.base.train.label_smoothing)
    again = config.base.train.replaced(seed=mix(config.seed, config.base.train.seed, "base") % 2**31)
    fit = Fit(objective, samples, again, config.data.augment, rank, world, wrap, "the base")
    if (found := place.find(STATE)) is not None:
        fit.restore(unpack_state(found))
    for row in fit.epochs():
        if rank:
            continue
        logits = outputs(objective.model, val, config.base.train.precision)[1]
        row["val_accuracy"] = (logits.argmax(1) == val.targets).float().mean().item()
        place.write(STATE, pack_state(fit.state()))
        watch(
            f"base epoch {row['epoch'] + 1}/{config.base.train.epochs}: loss {row['loss']:.3f}, "
            f"validation {100 * row['val_accuracy']:.1f} %, {row['seconds']:.0f} s"
        )
    if not rank:
        weights = {name: value.cpu().contiguous() for name, value in objective.model.state_dict().items()}
        place.write(RECORD, json.dumps({"epochs": fit.rows}).encode())
        place.write(WEIGHTS, save(weights))
        place.delete(STATE)


def adopt_base(config: EnsembleConfig, place: Folder) -> None:
    """Take `base.weights` as the base; raises as `start_base`."""
    classes, shape = facts_of(config.data)
    model = start_base(config, len(classes), shape)
    place.write(RECORD, json.dumps({"epochs": []}).encode())
    place.write(WEIGHTS, save({name: value.contiguous() for name, value in model.state_dict().items()}))


def start_base(config: EnsembleConfig, classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Return the base as its files give it: `base.weights`, `base.pretrained`, or new.

    Of `base.pretrained` a head for another number of classes is left out. Raises ConfigError for a file that there is
    not, BundleError for one that is not safetensors, ModelError for weights that are not those of `base.model`.
    """
    model, base = new_base(config, classes, shape), config.base
    file = base.weights or base.pretrained
    if file is None:
        return model
    path = Path(file).expanduser()
    if not path.is_file():
        key = "weights" if base.weights else "pretrained"
        raise ConfigError(f"base.{key}: there is no file '{path}'; name a safetensors file of {base.model.name}")
    tensors = unpack(path.read_bytes(), str(path))
    if base.pretrained:
        for key, value in model.state_dict().items():
            theirs = tensors.get(key, value)
            head = value.shape[:1] == (classes,) != theirs.shape[:1] and value.shape[1:] == theirs.shape[1:]
            tensors |= {key: value} if head else {}
    _fill(model, tensors, f"'{path}'", base.model.name)
    return model


def load_base(config: EnsembleConfig, place: Folder, classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Return the base that was trained or adopted, in eval mode."""
    model, data = new_base(config, classes, shape), place.find(WEIGHTS)
    if data is None:
        raise ConfigError(f"'{place.location}' has no {WEIGHTS}; build the ensemble from its first stage")
    _fill(model, unpack(data, f"{WEIGHTS} in '{place.location}'"), f"'{place.location}'", config.base.model.name)
    return model.eval()


def _fill(model: nn.Module, tensors: dict[str, torch.Tensor], where: str, name: str) -> None:
    own = model.state_dict()
    if missing := [key for key in own if key not in tensors]:
        raise ModelError(f"the weights in {where} lack {missing[0]} of {name}. {nearest(missing[0], tensors)}")
    if strange := [key for key in tensors if key not in own]:
        raise ModelError(f"the weights in {where} have {strange[0]}, which {name} lacks; see base.model.args")
    for key, value in own.items():
        if value.shape != tensors[key].shape:
            raise ModelError(
                f"{key} in {where} has shape {tuple(tensors[key].shape)}, {name} with these base.model.args "
                f"has {tuple(value.shape)}; give weights of that geometry, for the data's classes"
            )
    model.load_state_dict(tensors)


def teach(config: EnsembleConfig, place: Folder, base: nn.Module) -> torch.Tensor:
    """Return the base's logits (N, classes) for the training images as they are, computed once and kept."""
    found = place.find(TEACHER)
    if found is None:
        logits = outputs(base, samples_of_split(config, "train"), config.base.train.precision)[1]
        found = save({"logits": logits})
        place.write(TEACHER, found)
    return unpack(found, TEACHER)["logits"]


def facts_of(config: DataConfig) -> tuple[tuple[str, ...], tuple[int, int, int]]:
    """Return the class names and the image shape (C, H, W) of a data set."""
    val = load(config, "val")
    return val.classes, (val.images.shape[1], val.images.shape[2], val.images.shape[3])
