"""The page of one ensemble: what its sub-models know, cost and predict, beside the network they were cut out of."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from raysplit.config import EnsembleConfig, RetrainConfig
from raysplit.config.ensemble_plan import EnsemblePlan
from raysplit.errors import ConfigError
from raysplit.folders.build_dir import PLAN, REPORT, SUMMARY, BuildDir
from raysplit.records.ensemble_summary import ConfusionMatrix, CostName, EnsembleSummary, StageSeconds
from raysplit.records.summary import describe_test_from
from raysplit.report.confusion import plot_confusion
from raysplit.report.html import encode_base64, fill_template, html_table
from raysplit.report.plots import png
from raysplit.utils.text_table import DASH, format_call, number, percent, times

_KINDS = {"vit": "Vision Transformer", "cnn": "convolutional network", "snn": "spiking network"}
_GROUPINGS = {"seed": "grouped at random", "confusion": "grouped by what the base confuses", "none": "not split"}
_COST_COLUMNS = ("", "base", "most on\none device", "reduction", "all\ntogether", "reduction")
_SUBMODEL_COLUMNS = (
    *("sub-model: its classes", "keeps", "device", "parameters", "MiB", "GMAC"),
    *("latency\nms", "bytes sent\nper image", "accuracy\non its own"),
)
_DEVICE_COLUMNS = (
    *("device", "sub-models", "MiB\nused", "MiB\navailable", "share of\nmemory", "share of\nenergy"),
    *("GFLOP/s", "ms per\nimage"),
)
_PRECISION_NOTE = (
    "The rows with the base in fp32 are the headline: they include the gain of the lower precision; those with the "
    "base in the sub-models' precision show the gain of pruning alone."
)
_SUMMED: tuple[CostName, ...] = ("mib", "gmac", "latency_ms", "feature_bytes")
"""Columns of the sub-models' table that are summed below it, besides the parameters."""


def write_ensemble_report(location: str) -> str:
    """Write `report.html` into the folder of a build, a path or URI, and return its location.

    The page is made from `config.json`, `plan.json` and `summary.json` alone. Raises ConfigError for a folder that
    is not a build's, a build that has not ended, and damaged files.
    """
    folder = BuildDir.at(location)
    config, plan, summary = folder.config(), folder.plan(), folder.summary()
    if plan is None or summary is None:
        raise ConfigError(
            f"the build in '{location}' has not ended: it has no {PLAN if plan is None else SUMMARY}; "
            f"continue it with python jobs/build_ensemble.py --resume {location}"
        )
    folder.write(REPORT, _render_page(config, plan, summary).encode())
    return f"{folder.location}/{REPORT}"


def _render_page(config: EnsembleConfig, plan: EnsemblePlan, summary: EnsembleSummary) -> str:
    panels: dict[str, ConfusionMatrix] = {
        f"base, {percent(summary.base_accuracy)} correct": summary.base_confusion,
        f"{summary.n} sub-models fused, {percent(summary.accuracy)} correct": summary.confusion,
    }
    has_rest = any(spec.rest for spec in plan.submodels)
    return fill_template(
        "ensemble.html",
        title=escape(f"Ensemble: {summary.recipe}"),
        headline=_accuracy_table(summary),
        facts=escape(_describe_build(config, plan, summary)),
        images=f"{summary.test_images:,}",
        serves="" if (serves := describe_test_from(summary.test_from)) is None else f" ({serves})",
        costs=_cost_table(summary),
        no_devices="" if summary.devices else "No devices were given: each sub-model counts as on a device of its own.",
        precisions="" if summary.precision == "fp32" else _PRECISION_NOTE,
        submodels=_submodel_table(plan, summary),
        rest=" (an image that it takes for one of the other classes counts as wrong)" if has_rest else "",
        placement=_placement_section(config, summary),
        confusion=encode_base64(png(plot_confusion(panels, summary.classes))),
        stages=_stage_table(summary.seconds),
        config=escape(config.model_dump_json(indent=2)),
    )


def _accuracy_table(summary: EnsembleSummary) -> str:
    difference = f"{100 * (summary.accuracy - summary.base_accuracy):+.1f}".replace("-", "−")
    head = ("base", "fused", "difference\nin points", *(f"{count} lost" for count in summary.lost))
    row = (percent(summary.base_accuracy), percent(summary.accuracy), difference, *map(percent, summary.lost.values()))
    return html_table(head, [row], 0)


def _describe_build(config: EnsembleConfig, plan: EnsemblePlan, summary: EnsembleSummary) -> str:
    """Say in a sentence what was built, and how."""
    sizes = plan.sizes
    keep = f"{' to '.join(map(str, sorted({sizes[0], sizes[-1]})))} of {plan.size_steps} steps of the width"
    keep += ", as much as the devices hold" * (config.prune.keep == "fit")
    training = "not retrained"
    if config.retrain is not None:
        teacher = " with the base as a teacher" * (config.retrain.distill > 0)
        training = f"retrained for {_epochs(config.retrain)}{teacher}"
    if config.common is not None:
        training = f"cut out of a common network of all classes ({_epochs(config.common)}), {training}"
    count = "1 sub-model" if summary.n == 1 else f"{summary.n} sub-models"
    return (
        f"{count} cut out of a {_KINDS[summary.kind]}, {format_call(config.base.model.model_dump())}, on "
        f"{config.data.name}: classes {_GROUPINGS[config.groups.by]}, units kept by {config.prune.scores} scores "
        f"({keep}), {training}, stored in {summary.precision}. "
        f"Bundle {summary.bundle_id[:12]}: {summary.bundle}"
    )


def _epochs(retrain: RetrainConfig) -> str:
    return "1 epoch" if retrain.epochs == 1 else f"{retrain.epochs} epochs"


def _cost_table(summary: EnsembleSummary) -> str:
    """Return size, operations, time and traffic of the base, of the busiest device, and of all together."""
    rows: list[tuple[str, float, CostName]] = [
        ("parameters", summary.base_params, "params"),
        *_base_rows(summary, "MiB", summary.precision, (summary.base_mib, summary.base_mib_like), "mib"),
        ("GMAC", summary.base_gmac, "gmac"),
        *_base_rows(
            summary,
            "latency, ms",
            "fp32" if summary.precision == "fp32" else "bf16",
            (summary.base_latency_ms, summary.base_latency_like_ms),
            "latency_ms",
        ),
        ("bytes sent per image; base: the raw image", summary.bytes_per_sample_raw, "feature_bytes"),
    ]
    if summary.base_spikes is not None:
        rows.append(("spikes per image", summary.base_spikes, "spikes"))
    body = []
    for name, base, cost in rows:
        on_devices = summary.cost_by_device(cost)
        most, total = max(on_devices), sum(on_devices)
        body.append((name, number(base), number(most), times(base / most), number(total), times(base / total)))
    return html_table(_COST_COLUMNS, body)


def _base_rows(
    summary: EnsembleSummary, name: str, precision: str, base: tuple[float, float], cost: CostName
) -> list[tuple[str, float, CostName]]:
    """Return a row against the base in fp32 and, for sub-models of another precision, one against the base in that.

    `base` is the cost of the base in fp32 and in the sub-models' precision.
    """
    if summary.precision == "fp32":
        return [(name, base[0], cost)]
    return [(f"{name}; base in fp32", base[0], cost), (f"{name}; base in {precision} too", base[1], cost)]


def _submodel_table(plan: EnsemblePlan, summary: EnsembleSummary) -> str:
    total_classes = len(summary.classes)
    body = [
        (
            f"{index}: {', '.join(one.classes) if len(one.classes) < total_classes else f'all {total_classes}'}",
            f"{one.k} of {plan.size_steps}",
            one.device or DASH,
            f"{one.params:,}",
            *(number(value) for value in (one.mib, one.gmac, one.latency_ms, one.feature_bytes)),
            percent(one.accuracy_own),
        )
        for index, one in enumerate(summary.submodels)
    ]
    aggregates: dict[str, Callable[[list[float]], float]] = {"most on one device": max, "all together": sum}
    for name, aggregate in aggregates.items():
        params = aggregate(summary.cost_by_device("params"))
        costs = (number(aggregate(summary.cost_by_device(cost))) for cost in _SUMMED)
        body.append((name, "", "", f"{params:,.0f}", *costs, ""))
    return html_table(_SUBMODEL_COLUMNS, body, 3)


def _placement_section(config: EnsembleConfig, summary: EnsembleSummary) -> str:
    """Return the table of devices with its heading; "" where none were given."""
    if not summary.devices:
        return ""
    machines = {machine.name: machine for machine in config.devices}
    body = []
    for load in summary.devices:
        machine = machines[load.device]
        body.append(
            (
                load.device,
                ", ".join(load.submodels) or DASH,
                number(load.bytes / 2**20),
                number(machine.memory_mib),
                percent(load.memory_share),
                DASH if load.energy_share is None else percent(load.energy_share),
                number(machine.gflops_per_s),
                number(1e3 * load.seconds),
            )
        )
    return (
        f"<h2>Placement</h2>{html_table(_DEVICE_COLUMNS, body, 2)}"
        f'<p class="faint">Energy is that of {config.samples:,} images; a dash: no limit. The last column is computed '
        "from the operations (a MAC is 2) and the device's GFLOP/s, its sub-models running one after the other.</p>"
    )


def _stage_table(seconds: StageSeconds) -> str:
    rows = [
        ("train the base", seconds.base),
        ("train the common networks", seconds.common),
        ("score and prune, all sub-models", seconds.score),
        ("retrain, all sub-models", seconds.submodels - seconds.score),
        ("features and fusion", seconds.fusion),
    ]
    if not seconds.common:
        del rows[1]
    return html_table(("stage", "seconds"), [(name, number(spent)) for name, spent in rows])
