"""The report on some runs: one self-contained HTML page, and its plots as PNG files next to it."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Sequence
from html import escape

from pyarrow import fs

from raysplit.errors import ConfigError
from raysplit.folders.reader import RunRecord, labels, read_run
from raysplit.hardware.link import NAMED, Link
from raysplit.records.summary import describe_test_from
from raysplit.report.devices import DEVICE_COLUMNS, DEVICE_TEXT_COLUMNS, describe_devices, device_cells
from raysplit.report.html import encode_base64, fill_template, html_table
from raysplit.report.plots import plot_accuracy_by_epoch, plot_accuracy_by_traffic, plot_families, plot_time, png
from raysplit.report.seeds import count_runs
from raysplit.report.table import COLUMNS, FAMILY_COLUMNS, TEXT_COLUMNS, family_cells, run_cells
from raysplit.utils.storage import Folder, locate
from raysplit.utils.text_table import DASH, megabytes, number, percent, times

_PLOTS = {"accuracy-bytes": plot_accuracy_by_traffic, "epochs": plot_accuracy_by_epoch, "time": plot_time}
_BYTE_KINDS = {
    "activations\nup": "up_activations",
    "labels\nup": "up_labels",
    "weights\nup": "up_weights",
    "headers\nup": "up_headers",
    "gradients\ndown": "down_gradients",
    "weights\ndown": "down_weights",
    "headers\ndown": "down_headers",
}
_BACK_KINDS = {"gradients\nup": "up_gradients", "activations\ndown": "down_activations"}
"""Of runs with a second cut."""
_EPOCH_TEXT_COLUMNS = ("epoch", "level", "reason")
_EPOCH_COLUMNS = ("train loss", "train acc.", "val loss", "val acc.", "MB up", "MB down", "seconds")


def write_report(paths: Sequence[str], out: str) -> list[str]:
    """Write a page on some run directories to `out`, and its plots next to it; return the paths of all files written.

    `paths` and `out` are local paths or URIs. All files are written, or none. Raises ConfigError if there are no runs,
    if one of them has no readable record, and if `out` is a directory.

    >>> page, *plots = write_report(["run", "stopped_run"], "report.html")
    >>> [plot.rpartition("/")[2] for plot in plots]
    ['report-accuracy-bytes.png', 'report-epochs.png', 'report-time.png', 'report-family.png']
    """
    runs = [read_run(path) for path in dict.fromkeys(paths)]
    if not runs:
        raise ConfigError("no run to report on; name at least one run directory")
    filesystem, target = locate(out)
    if filesystem.get_file_info(target).type is fs.FileType.Directory:
        raise ConfigError(
            f"'{out}' is a directory; name the HTML file to write, for example {out.rstrip('/')}/report.html"
        )
    images = {name: png(plot(runs)) for name, plot in _PLOTS.items()}
    if families := [run for run in runs if run.levels]:
        images["family"] = png(plot_families(families))
    stem = posixpath.splitext(target)[0]
    contents = {f"{stem}-{name}.png": image for name, image in images.items()}
    contents = {target: _render_page(runs, images).encode()} | contents
    folder = Folder(filesystem, posixpath.dirname(target), posixpath.dirname(out) or ".")
    folder.write_all({posixpath.basename(path): data for path, data in contents.items()})
    return list(contents)


def _render_page(runs: Sequence[RunRecord], images: dict[str, bytes]) -> str:
    names = labels(runs)
    kinds = _BYTE_KINDS | (_BACK_KINDS if any(run.config.cut_back is not None for run in runs) else {})
    title = f"Split training: {names[0] if len(runs) == 1 else f'{len(runs)} runs'}"
    return fill_template(
        "report.html",
        title=escape(title),
        seeds=escape(_describe_seeds(runs)),
        comparison=html_table(COLUMNS, run_cells(runs), TEXT_COLUMNS),
        notes="".join(f'<p class="note">{escape(note)}</p>' for note in _make_notes(runs, names)),
        bytes=html_table(
            ("run", *kinds, "training\ntraffic", "evaluation", "checkpoints"),
            [_bytes_row(run, name, kinds.values()) for run, name in zip(runs, names, strict=True)],
        ),
        links=html_table(
            ("run", "measured", *(f"{name}\n{_format_rates(link)}" for name, link in NAMED.items())),
            [_links_row(run, name) for run, name in zip(runs, names, strict=True)],
        ),
        details="".join(_render_run(run, name) for run, name in zip(runs, names, strict=True)),
        families=_render_families(runs, images["family"]) if "family" in images else "",
        **{name.replace("-", "_"): encode_base64(images[name]) for name in _PLOTS},
    )


def _describe_seeds(runs: Sequence[RunRecord]) -> str:
    count = count_runs(runs)
    one = count.startswith("one")
    spread = ": how far runs of other seeds differ is not known" if one else " of recipes equal but for name and seed"
    return f"{count[0].upper()}{count[1:]}{spread}."


def _make_notes(runs: Sequence[RunRecord], names: Sequence[str]) -> list[str]:
    """Return notes: which runs sent more than the raw images, have no test split of their own or are not finished."""
    costlier, notes = [], []
    for run, name in zip(runs, names, strict=True):
        summary = run.summary
        if summary is None:
            notes.append(f"{name} is not finished: its record has {len(run.epochs)} of {run.planned_epochs} epochs.")
            continue
        if serves := describe_test_from(summary.test_from):
            notes.append(f"The test accuracy of {name} is on {serves}: its data have no labelled test split.")
        if summary.times_less_than_upload < 1:
            raw, sent = megabytes(summary.bytes_raw_upload), megabytes(run.traffic[-1])
            costlier.append(f"{name} ({raw} MB vs. {sent} MB, {times(summary.times_less_than_upload)})")
    if costlier:
        notes.insert(0, f"Uploading the raw images once would have been cheaper than training: {', '.join(costlier)}.")
    return notes


def _bytes_row(run: RunRecord, name: str, kinds: Iterable[str]) -> tuple[str, ...]:
    summary = run.summary
    evaluation = sum(record.bytes.evaluation for record in run.epochs)
    return (
        name,
        *(megabytes(sum(getattr(record.bytes, kind) for record in run.epochs)) for kind in kinds),
        megabytes(run.traffic[-1]),
        megabytes(evaluation if summary is None else summary.bytes_evaluation),
        DASH if summary is None else megabytes(summary.bytes_checkpoint),
    )


def _render_families(runs: Sequence[RunRecord], image: bytes) -> str:
    return (
        "<h2>Families</h2>"
        f"{html_table(FAMILY_COLUMNS, family_cells(runs), TEXT_COLUMNS)}"
        '<div class="plot"><img alt="Test accuracy of each level against its training bytes per image" '
        f'src="data:image/png;base64,{encode_base64(image)}"></div>'
        '<p class="faint">The models that prune runs kept, one at the end of each level, each trained further from the '
        "one before. Bytes are the level's training bytes per training image; accuracy is test accuracy.</p>"
    )


def _links_row(run: RunRecord, name: str) -> tuple[str, ...]:
    # Records of older versions have no predictions.
    predicted = [
        number(sum(record.predicted_s[link] for record in run.epochs))
        if all(link in record.predicted_s for record in run.epochs)
        else DASH
        for link in NAMED
    ]
    return (name, number(sum(record.seconds for record in run.epochs)), *predicted)


def _format_rates(link: Link) -> str:
    up, down, delay = number(link.up_bit_s / 1e6), number(link.down_bit_s / 1e6), number(1e3 * link.round_trip_s)
    return f"{up} / {down}\n{delay} ms"


def _render_run(run: RunRecord, name: str) -> str:
    cut, back = run.config.cut, run.config.cut_back
    cuts = cut if back is None else f"{cut} and {back}, labels on the device"
    facts = (
        f"{run.config.model.name} cut at {cuts}, data set {run.config.data.name}, "
        f"{len(run.epochs)} of {run.planned_epochs} epochs; run directory: {run.path}"
    )
    epochs = [
        (
            str(record.epoch + 1),
            record.level,
            record.reason,
            f"{record.train_loss:.4f}",
            percent(record.train_accuracy),
            f"{record.val_loss:.4f}",
            percent(record.val_accuracy),
            megabytes(record.bytes_up),
            megabytes(record.bytes_down),
            number(record.seconds),
        )
        for record in run.epochs
    ]
    devices = ""
    if cells := device_cells(run):
        devices = (
            f"<h4>Devices</h4><p>{escape(describe_devices(run.config.devices))}</p>"
            f"{html_table(DEVICE_COLUMNS, cells, DEVICE_TEXT_COLUMNS)}"
            '<p class="faint">Accuracy is that on the device\'s own validation images after its last round.</p>'
        )
    config = json.dumps(run.config.model_dump(mode="json"), indent=2, ensure_ascii=False)
    return (
        f"<h3>{escape(name)}</h3><p>{escape(facts)}</p>"
        f"{html_table((*_EPOCH_TEXT_COLUMNS, *_EPOCH_COLUMNS), epochs, len(_EPOCH_TEXT_COLUMNS))}{devices}"
        f"<details><summary>Config</summary><pre>{escape(config)}</pre></details>"
    )
