from __future__ import annotations

import pytest
import torch

from raysplit.config import (
    BottleneckConfig,
    DataConfig,
    DevicesConfig,
    Fixed,
    FreezeAndCache,
    LocalLoss,
    ModelConfig,
    Nested,
    Stage,
)
from raysplit.errors import BundleError, ConfigError, DataError
from raysplit.privacy.leak import measure_leak
from raysplit.privacy.picture import draw_leak
from raysplit.report.plots import png
from raysplit.train.local import train_local
from tests.train.recipes import plain_config


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """Return the folder of a run that is cut behind its first layer, whose codes give images away."""
    path = str(tmp_path_factory.mktemp("early") / "run")
    config = plain_config()
    data = config.data.replaced(augment="none", train_rows=320)
    train_local(
        config.replaced(
            name="early", cut="features.0", data=data, model=ModelConfig(name="vgg5", args={"width": 0.25})
        ),
        path,
    )
    return path


def test_images_are_rebuilt_from_an_early_cut(early):
    leak = measure_leak(early, epochs=8, shown=12)
    (level,) = leak.report.levels
    assert level.level == "all·b32/b32"
    assert level.similarity.psnr > leak.report.blind.psnr + 3
    assert level.similarity.ssim > leak.report.blind.ssim + 0.2
    assert (leak.report.known_images, leak.report.rebuilt_images) == (320, 359)
    assert leak.originals.dtype == leak.rebuilt[0].dtype == torch.uint8
    assert leak.originals.shape == leak.rebuilt[0].shape == (12, 1, 8, 8)


def test_the_same_attack_has_the_same_scores(early):
    first, second = (measure_leak(early, images=64, epochs=1) for _ in range(2))
    assert first.report.levels[0].similarity == second.report.levels[0].similarity
    assert torch.equal(first.rebuilt[0], second.rebuilt[0])


def test_every_level_of_a_family(family):
    location = family._bundle.location
    leak = measure_leak(location, images=64, epochs=1)
    assert [one.level for one in leak.report.levels] == ["all·b4/b4·zstd", "c4·b4/b4·zstd", "c2·b8/b8"]
    sizes = [one.bytes_per_image for one in leak.report.levels]
    assert sizes == sorted(sizes, reverse=True)
    one = measure_leak(location, ["c2.b8/b8", "c2·b8/b8"], images=64, epochs=1)
    assert [level.level for level in one.report.levels] == ["c2·b8/b8"]


LOCAL = plain_config().train.replaced(epochs=2, local_loss=LocalLoss(width=8, layers=1))
HALF = Stage(level="all.b4/b4.zstd", share=1)
RUNS = {
    "nested": {
        "bottleneck": BottleneckConfig(),
        "schedule": Nested(
            phases=(
                {"levels": ["all.b4/b4", "c2.b4/b4"], "share": 1, "keep": True},
                {"levels": ["all.b4/b4"], "share": 1, "keep": True},
            )
        ),
        "train": plain_config().train.replaced(epochs=2),
    },
    "freeze_and_cache": {"train": LOCAL, "schedule": FreezeAndCache(learn=HALF, send=HALF, views=1)},
    "many": {
        "devices": DevicesConfig(count=2, shards="dirichlet(1)"),
        "data": DataConfig(name="digits", train_rows=320),
    },
    "fedavg": {"devices": DevicesConfig(count=2, mode="fedavg")},
    "tokens": {
        "model": ModelConfig(name="vit", args={"patch": 4, "width": 24, "depth": 2, "heads": 3}),
        "cut": "blocks.0",
        "schedule": Fixed(level="all.b8/b8"),
    },
}


@pytest.mark.parametrize("kind", RUNS)
def test_every_kind_of_run(kind, tmp_path):
    config = plain_config().replaced(name=kind, **RUNS[kind])
    train_local(config, str(tmp_path / "run"))
    leak = measure_leak(str(tmp_path / "run"), images=32, epochs=1, shown=3)
    assert len(leak.report.levels) == (2 if kind == "nested" else 1)
    assert png(draw_leak(leak)).startswith(b"\x89PNG")


def test_recordings_are_rebuilt_as_spectrograms(audio_run, sound_cache):
    leak = measure_leak(str(audio_run), images=16, epochs=1, shown=2)
    assert leak.originals.shape == (2, 1, 16, 16)
    assert png(draw_leak(leak)).startswith(b"\x89PNG")


def test_devices_with_data_of_their_own(tmp_path):
    from raysplit.data import export_all

    for name in ("a", "b"):
        export_all(DataConfig(name="digits"), tmp_path / name)
    names = tuple(f"parquet:{tmp_path}/{name}" for name in ("a", "b"))
    config = plain_config().replaced(name="own", devices=DevicesConfig(data=names))
    train_local(config, str(tmp_path / "run"))
    leak = measure_leak(str(tmp_path / "run"), images=5000, epochs=1)
    assert leak.report.known_images == 2 * 96  # data.train_rows of each


def test_a_run_whose_data_are_gone(tmp_path):
    from raysplit.data import export_all

    export_all(DataConfig(name="digits"), tmp_path / "data")
    data = DataConfig(name=f"parquet:{tmp_path}/data", train_rows=96)
    train_local(plain_config().replaced(data=data), str(tmp_path / "run"))
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=f"'?{tmp_path}/data"):
        measure_leak(str(tmp_path / "run"), epochs=1)


def test_data_in_memory_are_given_again(tmp_path):
    pairs = [(torch.rand(1, 8, 8), index % 2) for index in range(200)]
    config = plain_config().replaced(data=DataConfig(dataset=pairs))
    train_local(config, str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="data was an object in memory"):
        measure_leak(str(tmp_path / "run"), epochs=1)
    assert measure_leak(str(tmp_path / "run"), epochs=1, config=config).report.known_images == 144


def test_other_images_than_the_runs(early, tmp_path):
    config = plain_config().replaced(data=DataConfig(dataset=[(torch.rand(1, 8, 8), i % 2) for i in range(200)]))
    train_local(config, str(tmp_path / "run"))
    larger = config.replaced(data=DataConfig(dataset=[(torch.rand(1, 9, 9), i % 2) for i in range(200)]))
    with pytest.raises(DataError, match="are 1×9×9, the run's were 1×8×8; put back"):
        measure_leak(str(tmp_path / "run"), epochs=1, config=larger)


@pytest.mark.parametrize("name", ["images", "epochs", "shown"])
def test_numbers_below_one(early, name):
    with pytest.raises(ConfigError, match=f"{name}=0: give at least 1"):
        measure_leak(early, **{name: 0})


def test_an_unknown_level(early):
    with pytest.raises(BundleError, match="has no level 'c4.b4/b4'. Nearest|Known: all·b32/b32"):
        measure_leak(early, ["c4.b4/b4"])
