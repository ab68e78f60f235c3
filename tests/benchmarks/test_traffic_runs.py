"""Runs of a traffic benchmark: stopped and resumed, not trained twice, and told apart by their settings."""

from __future__ import annotations

import itertools
import json
import math
from types import SimpleNamespace

import pytest
from filelock import FileLock

from raysplit.config import UNCOMPRESSED, BottleneckConfig, DataConfig, Fixed, ModelConfig, SplitConfig, TrainConfig


def tiny(**changes) -> SplitConfig:
    config = SplitConfig(
        name="split fp32",
        data=DataConfig(name="digits", train_rows=64),
        model=ModelConfig(name="vgg5", args={"width": 0.125}),
        cut="features.3",
        bottleneck=None,
        schedule=Fixed(level=UNCOMPRESSED),
        train=TrainConfig(epochs=2, batch_size=32, device="cpu"),
    )
    return config.replaced(**changes)


def test_settings_are_told_apart():
    from traffic.runs import settings_id

    same = [
        tiny(),
        tiny(name="another"),
        tiny(data=DataConfig(name="digits", train_rows=64, val_fraction=0.1)),
    ]
    assert len({settings_id(config) for config in same}) == 1
    other = [
        tiny(),
        tiny(bottleneck=BottleneckConfig()),
        tiny(bottleneck=BottleneckConfig(stride=2)),
        tiny(schedule=Fixed()),
        tiny(train=tiny().train.replaced(seed=1)),
        tiny(data=DataConfig(name="digits", train_rows=65)),
        tiny(model=ModelConfig(name="vgg5", args={"width": 0.25})),
    ]
    assert len({settings_id(config) for config in other}) == len(other)


def test_where_files_lie_is_no_setting():
    from traffic.runs import settings_id

    def at(data: str, weights: str) -> str:
        model = ModelConfig(name="vgg5", weights=weights)
        return settings_id(tiny(data=DataConfig(name=data), model=model))

    assert at("parquet:/here/cifar10", "/here/base.pt") == at("parquet:cifar10", "there/base.pt")
    assert at("parquet:/here/cifar10", "/here/base.pt") != at("folder:/here/cifar10", "/here/base.pt")
    assert at("parquet:/here/cifar10", "/here/base.pt") != at("parquet:/here/cifar10", "/here/other.pt")


def test_a_stopped_run_goes_on_at_its_last_epoch(tmp_path, monkeypatch):
    from traffic import runs

    ticks = itertools.count()
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    place = runs.run_folder(tmp_path, tiny())
    for until in (-1, 2):  # before the first epoch, before the second
        with pytest.raises(runs.TimeIsUp):
            runs.train(tiny(), place, until)
        assert runs.read(place, tiny()) is None
    asked = next(ticks)
    run = runs.train(tiny(), place, math.inf)
    assert next(ticks) - asked == 3, "at its beginning, and at that of the second epoch"
    assert (run.row, run.seed, len(run.epochs)) == ("split fp32", 0, 2)
    assert run.traffic == sum(epoch.frame_bytes for epoch in run.epochs) > run.payload > 0
    assert run.epochs[0].test_accuracy is None and 0 <= run.accuracy <= 1
    assert runs.train(tiny(), place, -1) == run, "what is done takes no time"
    assert runs.RunResult.model_validate_json(run.model_dump_json()) == run


def test_a_run_that_another_process_trains_is_left_to_it(tmp_path):
    from traffic.runs import run_folder, train

    place = run_folder(tmp_path, tiny())
    with FileLock(f"{place}.lock"):
        assert train(tiny(), place, math.inf) is None
    assert not (place / "config.json").exists()


@pytest.fixture
def preset():
    from traffic.presets import Preset

    def plain(config: SplitConfig) -> SplitConfig:
        return config

    def faster(config: SplitConfig) -> SplitConfig:
        return config.replaced(train=config.train.replaced(lr=0.1))

    return Preset("made_up", tiny, {"split fp32": plain, "faster": faster}, "split fp32", (0, 1), "notes")


def test_a_result_is_made_of_its_runs(tmp_path, preset):
    from traffic.result import Result
    from traffic.runs import run_folder, train

    result = Result(preset, None, tmp_path / "work", tmp_path)
    config = preset.config("split fp32", 0, None)
    assert not result.store.has(config)
    assert result.write() == ([], ["split fp32, seed 0", "faster, seed 0", "split fp32, seed 1", "faster, seed 1"])
    train(config, run_folder(result.work, config), math.inf)
    table, missing = result.write()
    assert [line["name"] for line in table] == ["unsplit", "split fp32", "raw images uploaded once, uint8"]
    assert table[2]["payload_mb"] > 64 * 64 / 1e6, "64 images of 8 × 8, and labels"
    assert missing == ["faster, seed 0", "split fp32, seed 1", "faster, seed 1"]
    written = json.loads((tmp_path / "made_up.json").read_text())
    assert written["rows"] == table and written["meta"]["notes"] == "notes"
    assert (tmp_path / "made_up.png").read_bytes().startswith(b"\x89PNG")

    elsewhere = Result(preset, None, tmp_path / "other", tmp_path)
    assert elsewhere.store.has(config) and not elsewhere.store.has(preset.config("split fp32", 1, None))
    assert elsewhere.write() == (table, missing), "from the file alone"
    assert not elsewhere.store.has(config.replaced(train=config.train.replaced(epochs=3)))
