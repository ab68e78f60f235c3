"""The page of one ensemble: what its sub-models know, cost and answer, beside the network they were cut out of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

from raysplit.errors import ConfigError
from raysplit.folders.reader import reading
from raysplit.report.confusion import confusion
from raysplit.report.html import embedded, filled, html_table
from raysplit.report.plots import png
from raysplit.utils.storage import Folder
from raysplit.utils.text_table import DASH, format_call, number, percent, times

_KINDS = {"vit": "Vision Transformer", "cnn": "convolutional network", "snn": "spiking network"}
_SUBMODELS = (
    *("sub-model: its classes", "keeps", "device", "parameters", "MiB", "GMAC"),
    *("latency\nms", "bytes sent\nper image", "accuracy\non its own"),
)
_DEVICES = (
    *("device", "sub-models", "MiB\nused", "MiB\nthere are", "share of\nmemory", "share of\nenergy"),
    *("GFLOP/s", "ms per\nimage"),
)
Tree = dict[str, Any]


def write_ensemble_report(location: str) -> str:
    """Write `report.html` into the folder of a build, a path or URI, and return where it is.

    The page is made from `config.json`, `plan.json` and `summary.json` alone. Raises ConfigError for a folder that
    is not a build's, a build that has not ended, and damaged files.
    """
    folder = Folder.at(location)
    config, summary, plan = (_read(folder, name) for name in ("config.json", "summary.json", "plan.json"))
    if config is None:
        raise ConfigError(f"'{location}' is not a build's folder: it has no config.json")
    if summary is None:
        raise ConfigError(
            f"the build in '{location}' has not ended: it has no summary.json; "
            f"go on with python jobs/build_ensemble.py --resume {location}"
        )
    if plan is None:
        raise ConfigError(f"'{location}' is not the build of an ensemble: it has no plan.json")
    folder.write("report.html", _page(config, plan, summary).encode())
    return f"{folder.location}/report.html"


def _read(folder: Folder, name: str) -> Tree | None:
    data = folder.find(name)
    with reading(folder.location, name):
        return None if data is None else json.loads(data)


def _page(config: Tree, plan: Tree, summary: Tree) -> str:
    pictures = {
        f"base, {percent(summary['base_accuracy'])} right": summary["base_confusion"],
        f"{summary['n']} sub-models fused, {percent(summary['accuracy'])} right": summary["confusion"],
    }
    return filled(
        "ensemble.html",
        title=escape(f"Ensemble: {summary['recipe']}"),
        headline=_headline(summary),
        facts=escape(_facts(config, plan, summary)),
        images=f"{summary['test_images']:,}",
        ratios=_ratios(summary),
        devices_are=_devices_are(summary),
        like=_two_bases(summary),
        submodels=_submodels(plan, summary),
        rest=" (an image that it takes for one of the other classes counts as wrong)" if _has_rest(plan) else "",
        placement=_placement(config, summary),
        confusion=embedded(png(confusion(pictures, summary["classes"]))),
        stages=_stages(summary["seconds"]),
        config=escape(json.dumps(config, indent=2, ensure_ascii=False)),
    )


def _headline(summary: Tree) -> str:
    lost = [count for count in (1, 2, 3) if f"lost{count}" in summary]
    difference = f"{100 * (summary['accuracy'] - summary['base_accuracy']):+.1f}".replace("-", "−")
    head = ("base", "fused", "difference\nin points", *(f"{count} lost" for count in lost))
    shares = [percent(summary[key]) for key in ("base_accuracy", "accuracy", *(f"lost{count}" for count in lost))]
    return html_table(head, [(*shares[:2], difference, *shares[2:])], 0)


def _facts(config: Tree, plan: Tree, summary: Tree) -> str:
    """Say in a line what was built, and how."""
    base, groups, prune, retrain = config["base"], config["groups"], config["prune"], config["retrain"]
    ways = {"seed": "grouped at random", "confusion": "grouped by what the base confuses", "none": "not split"}
    ks = {part["k"] for part in summary["submodels"]}
    keep = f"{' to '.join(map(str, sorted({min(ks), max(ks)})))} of {plan['steps']} steps of the width"
    keep += ", as much as the devices hold" * (prune["keep"] == "fit")
    again = "not retrained"
    if retrain is not None:
        again = f"retrained for {retrain['epochs']} epochs{' with the base as a teacher' * (retrain['distill'] > 0)}"
    if config.get("common") is not None:
        again = f"started from one net of all classes ({config['common']['epochs']} epochs), {again}"
    many = "1 sub-model" if summary["n"] == 1 else f"{summary['n']} sub-models"
    return (
        f"{many} cut out of a {_KINDS[summary['kind']]}, {format_call(base['model'])}, on {config['data']['name']}: "
        f"classes {ways[groups['by']]}, units kept by {prune['scores']} scores ({keep}), {again}, "
        f"stored in {summary['precision']}. "
        f"Bundle {summary['bundle_id'][:12]}: {summary['bundle']}"
    )


def _ratios(summary: Tree) -> str:
    """Return size, operations, time and traffic of the base, of the device that bears most, and of all together."""
    precision, parts = summary["precision"], summary["submodels"]
    computes = "fp32" if precision == "fp32" else "bf16"
    rows = [
        ("parameters", summary["base_params"], "params"),
        *_two_rows(summary, "MiB", precision, "base_mib", "base_mib_like", "mib"),
        ("GMAC", summary["base_gmac"], "gmac"),
        *_two_rows(summary, "latency, ms", computes, "base_latency_ms", "base_latency_like_ms", "latency_ms"),
        ("bytes sent per image; base: the raw image", summary["bytes_per_sample_raw"], "feature_bytes"),
    ]
    if "base_spikes" in summary:
        rows.append(("spikes per image", summary["base_spikes"], "spikes"))
    body = []
    for name, base, key in rows:
        most, total = max(_by_device(parts, key)), sum(_by_device(parts, key))
        body.append((name, number(base), number(most), times(base / most), number(total), times(base / total)))
    return html_table(("", "base", "most on\none device", "times\nless", "all\ntogether", "times\nless"), body)


def _two_rows(summary: Tree, name: str, precision: str, base: str, like: str, key: str) -> list[tuple[str, float, str]]:
    """Return a row against the base in fp32 and, for sub-models of another precision, one against the base in that."""
    if precision == "fp32":
        return [(name, summary[base], key)]
    return [(f"{name}; base in fp32", summary[base], key), (f"{name}; base in {precision} too", summary[like], key)]


def _by_device(parts: Iterable[Tree], key: str) -> list[Any]:
    """Return the sum over each device's sub-models; one without a device has one of its own."""
    sums: dict[Any, Any] = {}
    for index, part in enumerate(parts):
        device = part["device"] or index
        sums[device] = sums.get(device, 0) + part[key]
    return list(sums.values())


def _devices_are(summary: Tree) -> str:
    return "" if summary["devices"] else "No devices were given: each sub-model counts as on a device of its own."


def _two_bases(summary: Tree) -> str:
    if summary["precision"] == "fp32":
        return ""
    return (
        "The rows with the base in fp32 are the headline: they have the gain of the lower precision in them; those "
        "where the base is in the sub-models' precision too have the gain of pruning alone."
    )


def _has_rest(plan: Tree) -> bool:
    return any(seat["rest"] for seat in plan["seats"])


def _submodels(plan: Tree, summary: Tree) -> str:
    parts, everything = summary["submodels"], len(summary["classes"])
    body = [
        (
            f"{index}: {', '.join(part['classes']) if len(part['classes']) < everything else f'all {everything}'}",
            f"{part['k']} of {plan['steps']}",
            part["device"] or DASH,
            f"{part['params']:,}",
            *(number(part[key]) for key in ("mib", "gmac", "latency_ms", "feature_bytes")),
            percent(part["accuracy_own"]),
        )
        for index, part in enumerate(parts)
    ]
    for name, of in (("most on one device", max), ("all together", sum)):
        sums = {key: of(_by_device(parts, key)) for key in ("params", "mib", "gmac", "latency_ms", "feature_bytes")}
        body.append((name, "", "", f"{sums.pop('params'):,}", *map(number, sums.values()), ""))
    return html_table(_SUBMODELS, body, 3)


def _placement(config: Tree, summary: Tree) -> str:
    """Return the table of devices with its heading; "" where none were given."""
    if not summary["devices"]:
        return ""
    devices = {device["name"]: device for device in config["devices"]}
    body = []
    for load in summary["devices"]:
        here = [str(i) for i, part in enumerate(summary["submodels"]) if part["device"] == load["device"]]
        device = devices[load["device"]]
        body.append(
            (
                load["device"],
                ", ".join(here) or DASH,
                number(load["bytes"] / 2**20),
                number(device["memory_mib"]),
                percent(load["memory_share"]),
                DASH if load["energy_share"] is None else percent(load["energy_share"]),
                number(device["gflops_per_s"]),
                number(1e3 * load["seconds"]),
            )
        )
    return (
        f"<h2>Placement</h2>{html_table(_DEVICES, body, 2)}"
        f'<p class="faint">Energy is that of {config["samples"]:,} images; a dash: no limit. The last column follows '
        "from operations (a MAC is 2) and the device's GFLOP/s, for its sub-models one after the other.</p>"
    )


def _stages(seconds: Tree) -> str:
    names = {
        "base": "train the base",
        "common": "train the nets that sub-models start from",
        "score": "score and prune, all sub-models",
        "retrain": "retrain, all sub-models",
        "fusion": "features and fusion",
    }
    # A sub-model's seconds are all that it took, its scores included.
    spent = seconds | {"retrain": seconds["submodels"] - seconds["score"]}
    rows = [(name, number(spent[key])) for key, name in names.items() if spent.get(key) or key != "common"]
    return html_table(("stage", "seconds"), rows)
