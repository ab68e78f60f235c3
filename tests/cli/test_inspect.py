"""`raysplit inspect` on ensembles, families, and what is neither."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from raysplit.cli.main import main
from raysplit.ensemble.bundle import load_ensemble
from raysplit.family import write_family
from raysplit.family.bundle import load_family
from raysplit.train.local import train_local
from tests.train.recipes import family_config


def test_inspect_an_ensemble(capsys, bundle, tiny_ensemble):
    assert main(["inspect", bundle]) == 0
    title, *facts = capsys.readouterr().out.splitlines()
    assert title == "ensemble digits_vit_tiny"
    _, *rows = facts[facts.index("") + 1 :]
    assert f"id:        {load_ensemble(bundle).id[:12]}" in facts and "images:    1×8×8" in facts
    assert (
        "classes:   10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in facts
        and "fusion:    fusion.safetensors, layers=3, fill=mean" in facts
    )
    mean, std = load_ensemble(bundle).manifest.mean[0], load_ensemble(bundle).manifest.std[0]
    assert f"mean, std: {mean:.4g}±{std:.4g}" in facts
    parts = json.loads((tiny_ensemble / "summary.json").read_text())["submodels"]
    files = (tiny_ensemble / "bundle" / f"submodels/{index}.safetensors" for index in range(3))
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert len(rows) == len(parts) == 3
    for index, (row, part) in enumerate(zip(rows, parts, strict=True)):
        cells = [cell for cell in row.split("  ") if cell]
        assert [cell.strip() for cell in cells[:2]] == [str(index), f"submodels/{index}.safetensors"]
        assert "vit(" in cells[2] and "heads=2" in cells[2] and "width=16" in cells[2]
        assert [cell.strip() for cell in cells[3:]] == [
            *(", ".join(part["classes"]), "yes", part["device"], hashes[index][:12], "16", f"{part['mib']:.2g}"),
        ]


def test_inspect_an_ensemble_as_json(capsys, bundle, tiny_ensemble):
    assert main(["inspect", bundle, "--json"]) == 0
    found, ensemble = json.loads(capsys.readouterr().out), load_ensemble(bundle)
    assert found["kind"] == "ensemble" and found["id"] == ensemble.id
    assert found["mean"] == list(ensemble.manifest.mean) and found["shape"] == [1, 8, 8]
    sizes = [(tiny_ensemble / "bundle" / part["file"]).stat().st_size for part in found["parts"]]
    assert [part["bytes"] for part in found["parts"]] == sizes


def test_inspect_a_family(capsys, fail, tmp_path):
    run = train_local(family_config(), run_dir=str(tmp_path / "run")).run_dir
    family = load_family(write_family(run, str(tmp_path / "family")))
    assert main(["inspect", str(tmp_path / "family")]) == 0
    title, *rest = capsys.readouterr().out.splitlines()
    assert title == "family" and "cut:       features.7" in rest
    for level, row in zip(family.levels, rest[-3:], strict=True):
        assert row.split()[:4] == [
            *(level.level, level.file, f"{100 * level.test_accuracy:.1f}%", f"{100 * level.val_accuracy:.1f}%")
        ]
    assert main(["inspect", str(tmp_path / "family"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "family" and found["id"] == family.id
    assert [level["level"] for level in found["levels"]] == [level.level for level in family.levels]


@pytest.mark.parametrize("text", [None, "{", "[]", '{"format": 1}'])
def test_inspect_of_something_else(fail, text, tmp_path):
    if text is None:
        expected = f"'{tmp_path}' is not a bundle: it has no manifest.json"
    else:
        (tmp_path / "manifest.json").write_text(text)
        expected = f"manifest.json in bundle '{tmp_path}' cannot be read"
    assert expected in fail("inspect", str(tmp_path))


def test_inspect_a_bundle_that_contradicts_itself(fail, bundle, tmp_path):
    manifest = json.loads((Path(bundle) / "manifest.json").read_text())
    manifest["files"] = {}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    text = fail("inspect", str(tmp_path))
    assert f"bundle '{tmp_path}' has no submodels/0.safetensors: its manifest.json does not list it" in text
