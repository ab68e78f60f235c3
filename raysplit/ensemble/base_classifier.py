"""The base: trained epoch by epoch in a build's folder, or imported from a safetensors file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from raysplit.config import EnsembleConfig
from raysplit.data import Facts
from raysplit.ensemble.context import BuildContext
from raysplit.ensemble.forward import compute_outputs
from raysplit.ensemble.trainer import ClassifierTrainer, DataParallel, Objective
from raysplit.ensemble.weights_file import unpack
from raysplit.errors import ConfigError, DivergenceError, ModelError, nearest
from raysplit.folders.build_dir import BASE_STATE, BASE_WEIGHTS, TEACHER_LOGITS
from raysplit.models import build
from raysplit.records.build_stages import BaseRecord
from raysplit.torch_utils.checkpoint import pack_state, unpack_state
from raysplit.torch_utils.seeds import mix, seeded


def new_base(config: EnsembleConfig, data: Facts) -> nn.Module:
    """Return the base with the random weights of the config's seed."""
    with seeded(mix(config.seed, "base"), torch.device("cpu")):
        return build(config.base.model, len(data.classes), data.shape)


def initial_base(config: EnsembleConfig, data: Facts) -> nn.Module:
    """Return the base before training: with the weights of `base.weights` or `base.pretrained`, or random ones.

    A head of `base.pretrained` for another number of classes is left out. Raises ConfigError for a file that does not
    exist, BundleError for one that is not safetensors, ModelError for weights that are not those of `base.model`.
    """
    model, base = new_base(config, data), config.base
    file = base.weights or base.pretrained
    if file is None:
        return model
    path = Path(file).expanduser()
    if not path.is_file():
        key = "weights" if base.weights else "pretrained"
        raise ConfigError(f"base.{key}: '{path}' does not exist; name a safetensors file of {base.model.name}")
    tensors = unpack(path.read_bytes(), str(path))
    if base.pretrained:
        tensors |= _other_head(model.state_dict(), tensors, len(data.classes))
    _load_weights(model, tensors, f"'{path}'", base.model.name)
    return model


def train_base(context: BuildContext, log: Callable[[str], None], parallel: DataParallel | None = None) -> None:
    """Train the base, or continue from its last epoch, and write it; every process of `parallel` calls this.

    `log` gets a line after each epoch. Raises DataError for data that cannot be used, ModelError for a model that
    cannot be built, DivergenceError for a training that diverges, and as `initial_base`.
    """
    config, folder, parallel = context.config, context.folder, parallel or DataParallel()
    settings = config.base.train.replaced(seed=mix(config.seed, config.base.train.seed, "base") % 2**31)
    objective = Objective(initial_base(config, context.data), settings.label_smoothing)
    val, writes = context.load_samples("val"), parallel.rank == 0

    def evaluate() -> float:
        predictions = compute_outputs(objective.model, val, settings.precision).predictions
        return (predictions == val.targets).float().mean().item()

    trainer = ClassifierTrainer(
        objective,
        context.load_samples("train"),
        settings,
        config.data.augment,
        "the base",
        parallel,
        evaluate if writes else None,
    )
    if (state := folder.find(BASE_STATE)) is not None:
        trainer.restore(unpack_state(state))
    try:
        for record in trainer.epochs():
            if record.val_accuracy is not None:
                folder.write(BASE_STATE, pack_state(trainer.state()))
                log(
                    f"base epoch {record.epoch + 1}/{settings.epochs}: loss {record.loss:.3f}, "
                    f"validation {100 * record.val_accuracy:.1f} %, {record.seconds:.0f} s"
                )
    except DivergenceError as err:
        if not trainer.records:
            raise
        raise DivergenceError(f"{err}. The last good checkpoint is {folder.location}/{BASE_STATE}") from None
    if writes:
        folder.write_base(_pack(objective.model), BaseRecord(epochs=trainer.records))
        folder.delete(BASE_STATE)


def import_base(context: BuildContext) -> None:
    """Write `base.weights` as the base of a build; raises as `initial_base`."""
    context.folder.write_base(_pack(initial_base(context.config, context.data)), BaseRecord())


def load_base(context: BuildContext) -> nn.Module:
    """Return the base of a build, trained or imported, in eval mode."""
    folder, name = context.folder, context.config.base.model.name
    model = new_base(context.config, context.data)
    tensors = unpack(folder.read(BASE_WEIGHTS), f"{BASE_WEIGHTS} in '{folder.location}'")
    _load_weights(model, tensors, f"'{folder.location}'", name)
    return model.eval()


def load_or_compute_teacher_logits(context: BuildContext, base: nn.Module) -> Tensor:
    """Return the base's logits (N, classes) for the training images, not augmented; computed once and kept."""
    data = context.folder.find(TEACHER_LOGITS)
    if data is None:
        train = context.load_samples("train")
        data = save({"logits": compute_outputs(base, train, context.config.base.train.precision).logits})
        context.folder.write(TEACHER_LOGITS, data)
    return unpack(data, TEACHER_LOGITS)["logits"]


def _other_head(own: Mapping[str, Tensor], theirs: Mapping[str, Tensor], classes: int) -> dict[str, Tensor]:
    """Return the model's own tensors in place of those of a head for another number of classes."""

    def differs_in_classes(ours: Tensor, other: Tensor) -> bool:
        rows, other_rows = ours.shape[:1], other.shape[:1]
        return rows == (classes,) != other_rows and ours.shape[1:] == other.shape[1:]

    return {key: value for key, value in own.items() if key in theirs and differs_in_classes(value, theirs[key])}


def _load_weights(model: nn.Module, tensors: dict[str, Tensor], where: str, name: str) -> None:
    own = model.state_dict()
    if missing := [key for key in own if key not in tensors]:
        raise ModelError(f"the weights in {where} lack {missing[0]} of {name}. {nearest(missing[0], tensors)}")
    if unknown := [key for key in tensors if key not in own]:
        raise ModelError(f"the weights in {where} have {unknown[0]}, which {name} lacks; see base.model.args")
    for key, value in own.items():
        if value.shape != tensors[key].shape:
            raise ModelError(
                f"{key} in {where} has shape {tuple(tensors[key].shape)}, {name} with these base.model.args "
                f"has {tuple(value.shape)}; give weights of that geometry, for the data's classes"
            )
    model.load_state_dict(tensors)


def _pack(model: nn.Module) -> bytes:
    return save({name: value.cpu().contiguous() for name, value in model.state_dict().items()})
