"""What a build will be, before anything is trained: sizes, operations, placement."""

from __future__ import annotations

from collections.abc import Sequence

from raysplit.config import EnsembleConfig, RetrainConfig
from raysplit.config.ensemble_plan import EnsemblePlan, SubmodelSpec
from raysplit.data import read_facts
from raysplit.ensemble.base_classifier import new_base
from raysplit.ensemble.check import check_build
from raysplit.ensemble.cost import measure_cost
from raysplit.records.summary import describe_test_from
from raysplit.utils.text_table import DASH, align_table, format_call, number, percent

_SUBMODEL_COLUMNS = ("sub-model", "classes", "keeps", "device", "parameters", "MiB", "GMAC")
_DEVICE_COLUMNS = ("device", "sub-models", "MiB", "share of\nmemory", "share of\nenergy", "ms per\nimage")


def preview_build(config: EnsembleConfig) -> str:
    """Return the plan of a build as text for a terminal; the base is built and not trained.

    Raises whatever `build_ensemble` would before it trains: ConfigError, ModelError, DataError.

    >>> from raysplit.config import BaseConfig, DataConfig, GroupsConfig, ModelConfig, PruneConfig
    >>> config = EnsembleConfig(
    ...     name="mine",
    ...     data=DataConfig(name="digits"),
    ...     base=BaseConfig(model=ModelConfig(name="vgg5", args={"width": 0.125})),
    ...     groups=GroupsConfig(n=2),
    ...     prune=PruneConfig(keep=0.5),
    ... )
    >>> print(preview_build(config).partition("\\n\\n")[2])
    sub-model  classes        keeps    device  parameters    MiB     GMAC
    0          0, 2, 5, 6, 9  8 of 16  –            3,982  0.017  <0.0001
    1          1, 3, 4, 7, 8  8 of 16  –            3,982  0.017  <0.0001
    total                                           7,964  0.035  0.00012
    """
    data = read_facts(config.data)
    plan = check_build(config, data)
    cost = measure_cost(new_base(config, data), data.shape, "fp32")
    base, serves = config.base, describe_test_from(data.test_from)
    training = f"{base.train.epochs} epochs{f' from {base.pretrained}' if base.pretrained else ''}"
    training = f"read from {base.weights}" if base.weights else training
    summary = {
        "recipe": config.name,
        "data": f"{data.name}: {data.train_rows:,} training images of {'×'.join(map(str, data.shape))}, "
        f"{len(data.classes)} classes; {data.val_rows:,} for validation, {data.test_rows:,} for the test"
        + (f" ({serves})" if serves else ""),
        "base": f"{format_call(base.model.model_dump())}: {cost.params:,} parameters, {number(cost.mib)} MiB, "
        f"{number(cost.gmac)} GMAC; {training}",
        "common": _describe_training(config.common),
        "retrain": _describe_training(config.retrain),
        "fusion": f"{config.fusion.epochs} epochs, feature dropout {config.fusion.feature_dropout:g}",
        "files": config.precision,
    }
    lines = [f"{name:<9}{text}" for name, text in summary.items()]
    return "\n".join([*lines, "", _submodel_table(config, plan, data.classes), *_device_table(plan)])


def _describe_training(retrain: RetrainConfig | None) -> str:
    if retrain is None:
        return DASH
    return f"{retrain.epochs} epochs{', the base as a teacher' if retrain.distill else ''}"


def _submodel_table(config: EnsembleConfig, plan: EnsemblePlan, classes: Sequence[str]) -> str:
    body = []
    for index, spec in enumerate(plan.submodels):
        own = ", ".join(classes[i] for i in spec.classes) if len(spec.classes) < len(classes) else "all"
        if config.groups.by == "confusion":
            own = f"{len(spec.classes)}, by confusion"  # which ones depends on the trained base
        keeps = f"{spec.k} of {plan.size_steps}"
        body.append((str(index), own, keeps, spec.device or DASH, *_cost_cells([spec])))
    body.append(("total", "", "", "", *_cost_cells(plan.submodels)))
    return align_table(_SUBMODEL_COLUMNS, body, 4)


def _cost_cells(specs: Sequence[SubmodelSpec]) -> tuple[str, str, str]:
    """Return the sums of parameters, MiB and GMAC."""
    params = sum(spec.params for spec in specs)
    size, flops = sum(spec.file_bytes for spec in specs), sum(spec.flops for spec in specs)
    return f"{params:,}", number(size / 2**20), number(flops / 2e9)


def _device_table(plan: EnsemblePlan) -> list[str]:
    """Return a blank line and the table of the devices' loads; nothing where no devices were given."""
    body = [
        (
            load.device,
            ", ".join(load.submodels) or DASH,
            number(load.bytes / 2**20),
            percent(load.memory_share),
            DASH if load.energy_share is None else percent(load.energy_share),
            number(1e3 * load.seconds),
        )
        for load in plan.loads
    ]
    return ["", align_table(_DEVICE_COLUMNS, body, 2)] if body else []
