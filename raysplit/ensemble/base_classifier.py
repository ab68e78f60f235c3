"""The base: trained epoch by epoch in a build's folder, or imported from a safetensors file."""

from __future__ import annotations

from collections.abc import Callable

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
from raysplit.models import build, read_start_weights
from raysplit.records.build_stages import BaseRecord
from raysplit.torch_utils.checkpoint import pack_state, unpack_state
from raysplit.torch_utils.freezing import match_parameters
from raysplit.torch_utils.seeds import mix, seeded


def new_base(config: EnsembleConfig, data: Facts) -> nn.Module:
    """Return the base with the random weights of the config's seed."""
    with seeded(mix(config.seed, "base"), torch.device("cpu")):
        return build(config.base.model, len(data.classes), data.shape)


def initial_base(config: EnsembleConfig, data: Facts) -> tuple[nn.Module, str | None]:
    """Return the base before training, with the weights that the config names, and their sha256; None: random ones.

    A head for another number of classes is replaced, but not in `base.weights`. Raises what
    `raysplit.models.read_start_weights` raises.
    """
    model, base = new_base(config, data), config.base
    start = read_start_weights(
        base.start,
        model,
        len(data.classes),
        data.shape,
        settings="base.model",
        key=base.start_key,
        new_head=base.weights is None,
    )
    if start is None:
        return model, None
    start.load_into(model)
    start.log()
    return model, start.sha256


def find_frozen(config: EnsembleConfig, model: nn.Module) -> frozenset[str]:
    """Return the names of the parameters that `base.freeze` matches; ConfigError for a pattern that matches none."""
    frozen = match_parameters(model, config.base.freeze, "base.freeze")
    if frozen >= {name for name, _ in model.named_parameters()}:
        raise ConfigError("base.freeze leaves no parameter to train; leave the last layers out of it")
    return frozen


def train_base(context: BuildContext, log: Callable[[str], None], parallel: DataParallel | None = None) -> None:
    """Train the base, or continue from its last epoch, and write it; every process of `parallel` calls this.

    `log` gets a line after each epoch. One that continues needs no file of weights. Raises DataError for data that
    cannot be used, ModelError for a model that cannot be built, DivergenceError for a training that diverges,
    ConfigError for patterns of `base.freeze` that match nothing or all, and as `initial_base`.
    """
    config, folder, parallel = context.config, context.folder, parallel or DataParallel()
    settings = config.base.train.replaced(seed=mix(config.seed, config.base.train.seed, "base") % 2**31)
    data, writes = folder.find(BASE_STATE), parallel.rank == 0
    state = None if data is None else unpack_state(data)
    if state is None:
        model, started = initial_base(config, context.data)
    else:
        model, started = new_base(config, context.data), state.get("started")
    objective = Objective(model, settings.label_smoothing)
    objective.freeze(model, find_frozen(config, model))
    if writes and state is None and config.base.model.normalize == "auto":
        folder.write_normalization(context.normalization)
    val = context.load_samples("val")

    def evaluate() -> float:
        answers = compute_outputs(objective.model, val, settings.precision).answer(val)
        return (answers == val.answered).float().mean().item()

    trainer = ClassifierTrainer(
        objective,
        context.load_samples("train"),
        settings,
        config.data.augment,
        "the base",
        parallel,
        evaluate if writes else None,
    )
    if state is not None:
        trainer.restore(state)
    try:
        for record in trainer.epochs():
            if record.val_accuracy is not None:
                folder.write(BASE_STATE, pack_state(trainer.state() | {"started": started}))
                log(
                    f"base epoch {record.epoch + 1}/{settings.epochs}: loss {record.loss:.3f}, "
                    f"validation {100 * record.val_accuracy:.1f} %, {record.seconds:.0f} s"
                )
    except DivergenceError as err:
        if not trainer.records:
            raise
        raise DivergenceError(f"{err}. The last good checkpoint is {folder.location}/{BASE_STATE}") from None
    if writes:
        folder.write_base(_pack(objective.model), BaseRecord(epochs=trainer.records, weights=started))
        folder.delete(BASE_STATE)


def import_base(context: BuildContext) -> None:
    """Write `base.weights` as the base of a build; raises as `initial_base`."""
    if context.config.base.model.normalize == "auto":
        context.folder.write_normalization(context.normalization)
    base, sha256 = initial_base(context.config, context.data)
    context.folder.write_base(_pack(base), BaseRecord(weights=sha256))


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
