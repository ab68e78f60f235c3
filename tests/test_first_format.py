"""Runs, families, ensembles and searches of the first on-disk format still load, resume, report and answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from raysplit.compress.quantizing_codec import extract
from raysplit.data import prepare_batch
from raysplit.ensemble.bundle import load_ensemble
from raysplit.family import load_family, write_family
from raysplit.folders.run_dir import RunDir
from raysplit.folders.search_dir import SearchDir
from raysplit.report import format_runs, read_run, write_ensemble_report, write_report
from raysplit.train.local import train_local

HERE = Path(__file__).parent / "assets" / "first_format"
EXPECTED = json.loads((HERE / "expected.json").read_text())
RUNS = sorted(path.name for path in (HERE / "split_runs").iterdir())
FINISHED = [name for name in RUNS if name != "deprune_stopped"]


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (4, 1, 8, 8), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", RUNS)
def test_runs_load(name):
    folder = RunDir.at(str(HERE / "split_runs" / name))
    records, summary = folder.records(), folder.summary()
    assert folder.config().name == name.removesuffix("_stopped")
    assert [record.epoch for record in records] == list(range(len(records)))
    assert (summary is None) == (name == "deprune_stopped")
    if summary is not None:
        assert summary.traffic == sum(record.traffic for record in records)
        assert summary.val_accuracy == records[-1].val_accuracy


@pytest.mark.parametrize("name", ["all", *RUNS])
def test_runs_report(name, tmp_path):
    names = RUNS if name == "all" else [name]
    paths = [str(HERE / "split_runs" / name) for name in names]
    assert all(name.removesuffix("_stopped") in format_runs([read_run(path) for path in paths]) for name in names)
    page = Path(write_report(paths, str(tmp_path / "report.html"))[0]).read_text()
    assert page.count("<h3>") == len(names)


def test_a_stopped_run_goes_on_to_the_weights_of_the_whole(tmp_path):
    stopped = tmp_path / "stopped"
    shutil.copytree(HERE / "split_runs" / "deprune_stopped", stopped)
    summary = train_local(RunDir.at(str(stopped)).config(), str(stopped))
    now, whole = RunDir.at(str(stopped)), RunDir.at(str(HERE / "split_runs" / "deprune"))
    before = whole.summary()
    assert before is not None
    assert summary.traffic == pytest.approx(before.traffic, rel=1e-3)
    # Whoever wrote the whole may have had another processor: sums of floats differ in their last bits there.
    assert summary.accuracy == pytest.approx(before.accuracy, abs=0.03)
    for one, other in zip(now.records(), whole.records(), strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)


def test_the_family_answers_as_before(images):
    family = load_family(str(HERE / "family"))
    assert family.id == EXPECTED["ids"]["family"]
    x = prepare_batch(images, family.manifest.mean, family.manifest.std, "none", 0)
    for level in family.levels:
        device, server, codec = family.device(level.level), family.server(level.level), family.codec(level.level)
        with torch.no_grad():
            z = device(x)
            logits = server(extract(codec.compress(z, 0, device.encoder.choose_channels(codec.level.channels), None)))
        torch.testing.assert_close(logits, torch.tensor(EXPECTED["family"][level.level]), rtol=1e-4, atol=1e-5)


def test_a_family_can_be_written_from_the_run(tmp_path):
    family = load_family(write_family(str(HERE / "split_runs" / "prune"), str(tmp_path / "family")))
    before = load_family(str(HERE / "family"))
    assert family.manifest == before.manifest


@pytest.mark.parametrize("kind", ["vit", "cnn"])
def test_ensembles_answer_as_before(kind, images):
    ensemble = load_ensemble(str(HERE / "builds" / kind / "bundle"))
    assert ensemble.id == EXPECTED["ids"][kind]
    expected = torch.tensor(EXPECTED["ensembles"][kind])
    torch.testing.assert_close(ensemble.predict(images), expected, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("kind", ["vit", "cnn"])
def test_builds_report_and_are_complete(kind, tmp_path):
    build = tmp_path / kind
    shutil.copytree(HERE / "builds" / kind, build)
    assert Path(write_ensemble_report(str(build))).read_text().count("<table>") >= 3
    summary = json.loads((build / "summary.json").read_text())
    assert summary["n"] == 2


def test_the_search_loads():
    folder = SearchDir.at(str(HERE / "search"))
    assert folder.config().trials == len(folder.trials()) == 2
