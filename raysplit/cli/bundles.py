"""What is in a bundle, and what an ensemble says of image files: the words behind `raysplit inspect` and `predict`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raysplit.data.decode import decode
from raysplit.data.schema import BadRow
from raysplit.ensemble import bundle as ensembles
from raysplit.errors import BundleError, ConfigError, DataError
from raysplit.family import bundle as family
from raysplit.utils.bundle import MANIFEST
from raysplit.utils.storage import Folder
from raysplit.utils.text_table import DASH, aligned, called, number, percent

_BATCH_SIZE = 64
"""Images classified at once."""
_PARTS = ("sub-model", "file", "model", "classes", "rest", "device", "sha256", "features", "MiB")
_LEVELS = ("level", "file", "accuracy", "validation", "bytes up\nper image", "bytes down\nper image", "epochs")


def inspect(location: str) -> dict[str, Any]:
    """Return the manifest of a bundle, an ensemble's or a prune family's, as plain data with `kind` and `id`.

    Sizes and hashes of an ensemble's files are added to its parts, as `bytes` and `sha256`. Every hash is checked.
    Raises BundleError for what is neither kind, and for damaged, missing or contradictory files.
    """
    data = Folder.at(location).find(MANIFEST)
    try:
        manifest = json.loads(data or b"")
        kind = manifest["kind"]
    except (ValueError, KeyError, TypeError):
        kind = None  # the loader has the words for it
    if kind == family.KIND:
        loaded = family.load_family(location)
        return {"kind": kind, "id": loaded.id} | loaded.about.model_dump(mode="json")
    ensemble = ensembles.load_ensemble(location)
    found = {"kind": kind, "id": ensemble.id} | ensemble.manifest.model_dump(mode="json", by_alias=True)
    for part in found["parts"]:
        if part["file"] not in manifest["files"]:
            raise BundleError(f"bundle '{location}' has no {part['file']}: its {MANIFEST} does not list it")
        part |= {key: manifest["files"][part["file"]][key] for key in ("bytes", "sha256")}
    return found


def as_table(found: dict[str, Any]) -> str:
    """Return what `inspect` found as text for a terminal."""
    classes, shape = found["classes"], "×".join(map(str, found["shape"]))
    facts = {"id": found["id"][:12], "classes": f"{len(classes)}: {', '.join(classes)}", "images": shape}
    if found["kind"] == family.KIND:
        facts |= {"cut": found["cut"], "crosses": "×".join(map(str, found["code_shape"]))}
        title, table = "prune family", aligned(_LEVELS, [_level(level) for level in found["levels"]], 2)
    else:
        facts |= {
            "mean, std": " ".join(
                f"{mean:.4g}±{std:.4g}" for mean, std in zip(found["mean"], found["std"], strict=True)
            ),
            "precision": found["precision"],
            "fusion": f"{ensembles.FUSION}, layers={found['layers']}, fill={found['fill']}",
        }
        title = f"ensemble {found['recipe']}"
        body = [_part(str(index), part, classes) for index, part in enumerate(found["parts"])]
        table = aligned(_PARTS, body, 7)
    lines = (f"{name + ':':<11}{text}" for name, text in facts.items())
    return "\n".join([title, *lines, "", table])


def _part(index: str, part: dict[str, Any], classes: Sequence[str]) -> tuple[str, ...]:
    own = [classes[i] for i in part["classes"]]
    return (
        index,
        part["file"],
        called(part["model"]),
        ", ".join(own) if len(own) < len(classes) else "all",
        "yes" if part["rest"] else "no",
        part["device"] or DASH,
        part["sha256"][:12],
        str(part["features"]),
        number(part["bytes"] / 2**20),
    )


def _level(level: dict[str, Any]) -> tuple[str, ...]:
    return (
        level["level"],
        level["file"],
        percent(level["test_accuracy"]),
        percent(level["val_accuracy"]),
        number(level["bytes_per_sample_up"]),
        number(level["bytes_per_sample_down"]),
        str(level["epochs"]),
    )


def predict(location: str, files: Sequence[str], top: int, missing: Sequence[int]) -> list[dict[str, Any]]:
    """Return `{"file", "top": [{"class", "probability"}, …]}` for each image file, the likeliest classes first.

    Images are decoded as those of data sets are. Sub-models in `missing` are not asked. Raises DataError for a
    file that is no image, ConfigError for a sub-model that there is not, BundleError as `load_ensemble`.
    """
    if top < 1:
        raise ConfigError(f"--top {top} leaves no class to name; give 1 or more")
    ensemble = ensembles.load_ensemble(location)
    n, classes = len(ensemble.manifest.submodels), ensemble.manifest.classes
    for index in missing:
        if not 0 <= index < n:
            raise ConfigError(f"--missing: there is no sub-model {index} in '{location}'; it has 0 to {n - 1}")
    if len(set(missing)) == n:
        raise ConfigError(f"--missing: all {n} sub-models of '{location}' are missing; leave at least one")
    images = torch.from_numpy(np.stack([_pixels(file, ensemble.manifest.shape) for file in files]))
    answers = torch.cat([ensemble.predict(batch, missing) for batch in torch.split(images, _BATCH_SIZE)])
    best = answers.topk(min(top, len(classes)))
    return [
        {"file": file, "top": [{"class": classes[i], "probability": share} for share, i in zip(*row, strict=True)]}
        for file, *row in zip(files, best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def as_lines(found: Sequence[dict[str, Any]]) -> str:
    """Return what `predict` found, a line for each image: file, class, probability, runners-up."""
    rows = []
    for row in found:
        first, *others = row["top"]
        beside = ", ".join(f"{other['class']} {percent(other['probability'])}" for other in others)
        rows.append((row["file"], first["class"], percent(first["probability"]), beside))
    file, name = (max(len(row[i]) for row in rows) for i in range(2))
    return "\n".join(f"{row[0]:<{file}}  {row[1]:<{name}}  {row[2]:>6}  {row[3]}".rstrip() for row in rows)


def _pixels(file: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Return an image file as uint8 (C, H, W)."""
    try:
        return decode(Path(file), shape[1:], shape[0])
    except BadRow as err:
        raise DataError(f"{file}: {err}; give 8-bit image files") from None
