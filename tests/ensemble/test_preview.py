"""The plan of a build for people, before anything is trained."""

from __future__ import annotations

import pytest

from raysplit.config import GroupsConfig, Machine, PruneConfig, RetrainConfig
from raysplit.ensemble.preview import preview_build
from raysplit.errors import ConfigError
from raysplit.folders.build_dir import BuildDir
from tests.ensemble.tiny_build import config


def rows(text):
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def test_it_says_what_the_build_will_be(tiny_ensemble):
    folder = BuildDir.at(str(tiny_ensemble))
    given, summary = folder.config(), folder.summary()
    found = rows(preview_build(given.replaced(common=RetrainConfig(epochs=2, distill=1.0))))
    assert ["recipe", "digits_vit_tiny"] in found
    assert ["common", "2 epochs, the base as a teacher"] in found and ["retrain", "–"] in found
    head = found.index(["sub-model", "classes", "keeps", "device", "parameters", "MiB", "GMAC"])
    for index, (row, part) in enumerate(zip(found[head + 1 :], summary.submodels, strict=False)):
        assert row[:5] == [str(index), ", ".join(part.classes), "2 of 3", part.device, f"{part.params:,}"]
    assert found[head + 4][:2] == ["total", f"{sum(part.params for part in summary.submodels):,}"]


def test_devices_and_groups_that_the_base_will_tell():
    devices = (
        Machine(name="small", memory_mib=0.011, gflops_per_s=1, energy_gflops=5),
        Machine(name="large", memory_mib=0.02, gflops_per_s=1),
    )
    given = config(groups=GroupsConfig(by="confusion"), prune=PruneConfig(keep="fit"), devices=devices, retrain=None)
    found = rows(preview_build(given))
    assert ["retrain", "–"] in found
    assert {row[3]: row[1] for row in found if len(row) == 7 and row[0] in "01"} == {
        "small": "5, by confusion",
        "large": "5, by confusion",
    }
    loads = {row[0]: row for row in found if row and row[0] in ("small", "large")}
    assert loads["small"][3].endswith("%") and loads["small"][4].endswith("%") and loads["large"][4] == "–"


def test_what_cannot_be_is_said():
    with pytest.raises(ConfigError, match="10 classes cannot be split into 11 groups"):
        preview_build(config(groups=GroupsConfig(n=11)))
