"""The page: one HTML file with everything in it, and the plots as PNG files beside it."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence
from html import escape

from pyarrow import fs

from raysplit.errors import ConfigError
from raysplit.folders.reader import RunRecord, labels, read_run
from raysplit.hardware.link import NAMED, Link
from raysplit.report.html import embedded, filled, html_table
from raysplit.report.plots import accuracy_bytes, accuracy_epochs, accuracy_sample, png, time_spent
from raysplit.report.table import COLUMNS, FAMILY_COLUMNS, TEXT_COLUMNS, cells, family_cells
from raysplit.utils.storage import Folder, locate
from raysplit.utils.text_table import DASH, megabytes, number, percent, times

_PLOTS = {"accuracy-bytes": accuracy_bytes, "epochs": accuracy_epochs, "time": time_spent}
_KINDS = {
    "activations\nup": "up_activations",
    "labels\nup": "up_labels",
    "headers\nup": "up_headers",
    "gradients\ndown": "down_gradients",
    "headers\ndown": "down_headers",
}
_EPOCH = ("epoch", "level", "why", "train loss", "train acc.", "val loss", "val acc.", "MB up", "MB down", "seconds")


def write_report(paths: Sequence[str], out: str) -> list[str]:
    """Write the page for some run directories to `out`, and its plots beside it; return the paths written.

    `paths` and `out` are local paths or URIs. A file is written whole or not at all. Raises ConfigError when
    there is nothing to report on.
    """
    runs = [read_run(path) for path in dict.fromkeys(paths)]
    if not runs:
        raise ConfigError("there is no run to report on; name at least one run directory")
    filesystem, target = locate(out)
    if filesystem.get_file_info(target).type is fs.FileType.Directory:
        raise ConfigError(
            f"'{out}' is a directory; name the HTML file to write, for example {out.rstrip('/')}/report.html"
        )
    images = {name: png(plot(runs)) for name, plot in _PLOTS.items()}
    if families := [run for run in runs if run.levels]:
        images["family"] = png(accuracy_sample(families))
    stem = posixpath.splitext(target)[0]
    contents = {f"{stem}-{name}.png": image for name, image in images.items()}
    contents = {target: _page(runs, images).encode()} | contents
    folder = Folder(filesystem, posixpath.dirname(target), posixpath.dirname(out) or ".")
    for path, data in contents.items():
        folder.write(posixpath.basename(path), data)
    return list(contents)


def _page(runs: Sequence[RunRecord], images: dict[str, bytes]) -> str:
    names = labels(runs)
    title = f"Split training: {names[0] if len(runs) == 1 else f'{len(runs)} runs'}"
    return filled(
        "report.html",
        title=escape(title),
        comparison=html_table(COLUMNS, cells(runs), TEXT_COLUMNS),
        notes="".join(f'<p class="note">{escape(note)}</p>' for note in _notes(runs, names)),
        bytes=html_table(
            ("run", *_KINDS, "training\ntraffic", "evaluation", "checkpoints"),
            [_bytes(run, name) for run, name in zip(runs, names, strict=True)],
        ),
        links=html_table(
            ("run", "here", *(f"{name}\n{_rates(link)}" for name, link in NAMED.items())),
            [_links(run, name) for run, name in zip(runs, names, strict=True)],
        ),
        details="".join(_details(run, name) for run, name in zip(runs, names, strict=True)),
        families=_families(runs, images["family"]) if "family" in images else "",
        **{name.replace("-", "_"): embedded(images[name]) for name in _PLOTS},
    )


def _notes(runs: Sequence[RunRecord], names: Sequence[str]) -> list[str]:
    """Say plainly which runs cost more than the raw images would have, and which have not ended."""
    dearer, notes = [], []
    for run, name in zip(runs, names, strict=True):
        done = run.summary
        if done is None:
            notes.append(f"{name} has not ended: {len(run.epochs)} of {run.planned} epochs are in its record.")
        elif done.times_less_than_upload < 1:
            raw, sent = megabytes(done.bytes_raw_upload), megabytes(run.traffic[-1])
            dearer.append(f"{name} ({raw} MB against {sent} MB, {times(done.times_less_than_upload)})")
    if dearer:
        notes.insert(0, f"Uploading the raw images once would have been cheaper than training: {', '.join(dearer)}.")
    return notes


def _bytes(run: RunRecord, name: str) -> tuple[str, ...]:
    done = run.summary
    return (
        name,
        *(megabytes(sum(getattr(record.bytes, kind) for record in run.epochs)) for kind in _KINDS.values()),
        megabytes(run.traffic[-1]),
        megabytes(sum(record.bytes.evaluation for record in run.epochs) if done is None else done.bytes_evaluation),
        DASH if done is None else megabytes(done.bytes_checkpoint),
    )


def _families(runs: Sequence[RunRecord], image: bytes) -> str:
    return (
        "<h2>Families</h2>"
        f"{html_table(FAMILY_COLUMNS, family_cells(runs), TEXT_COLUMNS)}"
        '<div class="plot"><img alt="Test accuracy of each level against its bytes per image" '
        f'src="data:image/png;base64,{embedded(image)}"></div>'
        '<p class="faint">The model that was kept at the end of each level of a prune run, trained on from the level '
        "before it. Bytes are those of the level's training messages for each training image; accuracy is the test "
        "split's at that level.</p>"
    )


def _links(run: RunRecord, name: str) -> tuple[str, ...]:
    # A record that was made before there were predictions is still worth a page.
    predicted = [
        number(sum(record.predicted_s[link] for record in run.epochs)) if link in run.epochs[0].predicted_s else DASH
        for link in NAMED
    ]
    return (name, number(sum(record.seconds for record in run.epochs)), *predicted)


def _rates(link: Link) -> str:
    up, down, delay = number(link.up_bit_s / 1e6), number(link.down_bit_s / 1e6), number(1e3 * link.round_trip_s)
    return f"{up} up, {down} down, {delay} ms"


def _details(run: RunRecord, name: str) -> str:
    facts = (
        f"{run.config.model.name} cut at {run.config.cut}, data set {run.config.data.name}, "
        f"{len(run.epochs)} of {run.planned} epochs; record: {run.path}"
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
    config = json.dumps(run.config.model_dump(mode="json"), indent=2, ensure_ascii=False)
    return (
        f"<h3>{escape(name)}</h3><p>{escape(facts)}</p>{html_table(_EPOCH, epochs, 3)}"
        f"<details><summary>Config</summary><pre>{escape(config)}</pre></details>"
    )
