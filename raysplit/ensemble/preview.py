"""What a build will be, before anything is trained: sizes, operations, who is placed where."""

from __future__ import annotations

from collections.abc import Sequence

from raysplit.config import EnsembleConfig, RetrainConfig
from raysplit.data import facts
from raysplit.ensemble.check import checked
from raysplit.ensemble.classifier import facts_of, new_base
from raysplit.ensemble.cost import cost
from raysplit.ensemble.plan import Plan, SubmodelSpec
from raysplit.utils.text_table import DASH, align_table, format_call, number, percent

_SEATS = ("sub-model", "classes", "keeps", "device", "parameters", "MiB", "GMAC")
_DEVICES = ("device", "sub-models", "MiB", "share of\nmemory", "share of\nenergy", "ms per\nimage")


def preview(config: EnsembleConfig) -> str:
    """Return the plan of a build as text for a terminal; the base is built and not trained.

    Raises whatever `build_ensemble` would before it trains: ConfigError, ModelError, DataError.
    """
    (classes, shape), known = facts_of(config.data), facts(config.data)
    plan = checked(config, len(classes), shape)
    whole = cost(new_base(config, len(classes), shape), shape, "fp32")
    base = config.base
    how = f"{base.train.epochs} epochs{f' from {base.pretrained}' if base.pretrained else ''}"
    how = f"read from {base.weights}" if base.weights else how
    facts_by_name = {
        "recipe": config.name,
        "data": f"{known.name}: {known.train_rows:,} training images of {'×'.join(map(str, shape))}, "
        f"{len(classes)} classes; {known.val_rows:,} for validation, {known.test_rows:,} for the test",
        "base": f"{format_call(base.model.model_dump())}: {whole.params:,} parameters, {number(whole.mib)} MiB, "
        f"{number(whole.gmac)} GMAC; {how}",
        "common": _learns(config.common),
        "retrain": _learns(config.retrain),
        "fusion": f"{config.fusion.epochs} epochs, feature dropout {config.fusion.feature_dropout:g}",
        "files": config.precision,
    }
    lines = [f"{name:<9}{text}" for name, text in facts_by_name.items()]
    return "\n".join([*lines, "", _seats(config, plan, classes), *_loads(plan)])


def _learns(fit: RetrainConfig | None) -> str:
    if fit is None:
        return DASH
    return f"{fit.epochs} epochs{', the base as a teacher' if fit.distill else ''}"


def _seats(config: EnsembleConfig, plan: Plan, classes: tuple[str, ...]) -> str:
    body = []
    for index, seat in enumerate(plan.seats):
        own = ", ".join(classes[i] for i in seat.classes) if len(seat.classes) < seat.of else "all"
        if config.groups.by == "confusion":
            own = f"{len(seat.classes)}, by confusion"  # which, the trained base will tell
        body.append((str(index), own, f"{seat.k} of {plan.steps}", seat.device or DASH, *_sizes([seat])))
    body.append(("together", "", "", "", *_sizes(plan.seats)))
    return align_table(_SEATS, body, 4)


def _sizes(seats: Sequence[SubmodelSpec]) -> tuple[str, str, str]:
    params, size, flops = (sum(getattr(seat, key) for seat in seats) for key in ("params", "file_bytes", "flops"))
    return f"{params:,}", number(size / 2**20), number(flops / 2e9)


def _loads(plan: Plan) -> list[str]:
    """Return what each device bears; nothing where none were given."""
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
    return ["", align_table(_DEVICES, body, 2)] if body else []
