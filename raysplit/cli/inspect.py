"""`raysplit inspect`: what is in a bundle."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raysplit.cli.command import Verbs
from raysplit.errors import BundleError
from raysplit.utils.text_table import DASH, align_table, format_call, number, percent

if TYPE_CHECKING:
    from raysplit.data.inputs import InputFormat
    from raysplit.ensemble.bundle import Ensemble
    from raysplit.ensemble.manifest import SubmodelEntry
    from raysplit.family.bundle import Family
    from raysplit.records.family import FamilyLevel
    from raysplit.utils.bundle import FileEntry

_SUBMODELS = ("sub-model", "file", "model", "classes", "rest", "device", "sha256", "features", "MiB")
_LEVELS = ("level", "file", "accuracy", "validation", "bytes up\nper image", "bytes down\nper image", "epochs")


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("inspect", help="show what is in a bundle: an ensemble, a family or a run")
    parser.add_argument("bundle", metavar="BUNDLE", help="its folder or that of a run, a path or URI")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Check every hash of a bundle, and print the table or the JSON object.

    Raises BundleError for a folder that is neither an ensemble nor a family, and for damaged, missing or contradictory
    files.
    """
    from raysplit.ensemble.bundle import load_ensemble
    from raysplit.family.bundle import KINDS, find_family, load_family
    from raysplit.utils.bundle import MANIFEST, read_kind

    if read_kind(find_family(args.bundle)) in KINDS:
        family = load_family(args.bundle)
        print(_dump(family_to_json(family)) if args.json else format_family(family))
        return
    ensemble = load_ensemble(args.bundle)
    for entry in ensemble.manifest.submodels:
        if entry.file not in ensemble.files:
            raise BundleError(f"bundle '{args.bundle}' has no {entry.file}: its {MANIFEST} does not list it")
    print(_dump(ensemble_to_json(ensemble)) if args.json else format_ensemble(ensemble))


def family_to_json(family: Family) -> dict[str, Any]:
    """Return a family's manifest as JSON data, with `kind` and `id`."""
    from raysplit.records.family import KIND

    more: dict[str, Any] = {"code": list(family.code)} if family.code else {}
    if family.input.audio is not None:
        more["audio"] = family.input.audio.model_dump()
    return {"kind": KIND, "id": family.id} | more | family.manifest.model_dump(mode="json")


def format_family(family: Family) -> str:
    """Return a family as text for a terminal."""
    manifest = family.manifest
    facts = _common_facts(family.id, manifest.classes, family.input)
    facts |= {"cut": manifest.cut, "crosses": "×".join(map(str, manifest.code_shape))}
    if family.code:
        facts["code"] = f"{', '.join(family.code)} (runs when the network is loaded)"
    table = align_table(_LEVELS, [_level_cells(level) for level in family.levels], 2)
    return "\n".join(["family", *_format_facts(facts), "", table])


def ensemble_to_json(ensemble: Ensemble) -> dict[str, Any]:
    """Return an ensemble's manifest as JSON data, with `kind` and `id`, and `bytes` and `sha256` of each sub-model."""
    from raysplit.ensemble.bundle import KIND

    data = {"kind": KIND, "id": ensemble.id} | ensemble.manifest.model_dump(mode="json", by_alias=True)
    for part in data["parts"]:
        file = ensemble.files[part["file"]]
        part |= {"bytes": file.bytes, "sha256": file.sha256}
    return data


def format_ensemble(ensemble: Ensemble) -> str:
    """Return an ensemble as text for a terminal."""
    from raysplit.ensemble.bundle import FUSION

    manifest = ensemble.manifest
    facts = _common_facts(ensemble.id, manifest.classes, manifest.input) | {
        "mean, std": " ".join(f"{mean:.4g}±{std:.4g}" for mean, std in zip(manifest.mean, manifest.std, strict=True)),
        "precision": manifest.precision,
        "fusion": f"{FUSION}, layers={manifest.layers}, fill={manifest.fill}",
    }
    body = [
        _submodel_cells(str(index), entry, manifest.classes, ensemble.files[entry.file])
        for index, entry in enumerate(manifest.submodels)
    ]
    return "\n".join([f"ensemble {manifest.recipe}", *_format_facts(facts), "", align_table(_SUBMODELS, body, 7)])


def _common_facts(bundle_id: str, classes: Sequence[str], taken: InputFormat) -> dict[str, str]:
    names = f"{len(classes)}: {', '.join(classes)}"
    facts = {"id": bundle_id[:12], "classes": names, "images": "×".join(map(str, taken.shape))}
    if (audio := taken.audio) is not None:
        facts["of sound"] = f"{audio.seconds:g} s each, {audio.sample_rate} samples/s"
    return facts


def _format_facts(facts: Mapping[str, str]) -> list[str]:
    return [f"{name + ':':<11}{text}" for name, text in facts.items()]


def _submodel_cells(index: str, entry: SubmodelEntry, classes: Sequence[str], file: FileEntry) -> tuple[str, ...]:
    own = [classes[i] for i in entry.classes]
    return (
        index,
        entry.file,
        format_call(entry.model.model_dump()),
        ", ".join(own) if len(own) < len(classes) else "all",
        "yes" if entry.rest else "no",
        entry.device or DASH,
        file.sha256[:12],
        str(entry.features),
        number(file.bytes / 2**20),
    )


def _level_cells(level: FamilyLevel) -> tuple[str, ...]:
    return (
        level.level,
        level.file,
        percent(level.test_accuracy),
        percent(level.val_accuracy),
        number(level.bytes_per_sample_up),
        number(level.bytes_per_sample_down),
        str(level.epochs),
    )


def _dump(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False)
