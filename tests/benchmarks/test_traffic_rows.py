"""The settings of the traffic benchmark: every row can be built, and compares what it says it does."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from raysplit.config import SplitConfig
from raysplit.models import build
from raysplit.split.profile import profile
from raysplit.train.halves import build_device_half
from raysplit.train.local_head import LocalHead

SHAPE = (3, 32, 32)


@pytest.fixture
def config():
    from traffic.presets import PRESETS

    def make(row: str, preset: str = "full") -> SplitConfig:
        return PRESETS[preset].config(row, 0, None)

    return make


def gflops(config: SplitConfig) -> tuple[float, float]:
    """Return what both halves compute for an image."""
    cuts = {cut.name: cut for cut in profile(build(config.model, 10, SHAPE), SHAPE)}
    return cuts[config.cut].device_gflops, cuts[config.cut].server_gflops


@pytest.mark.parametrize("preset", ["quick", "full", "paper"])
def test_every_row_is_a_config_that_can_be_built(preset):
    from traffic.presets import PRESETS

    rows = PRESETS[preset].rows
    assert PRESETS[preset].reference in rows
    configs = [PRESETS[preset].config(row, 3, "parquet:images") for row in rows]
    assert [config.name for config in configs] == list(rows)
    assert {(config.data.name, config.train.seed) for config in configs} == {("parquet:images", 3)}
    for config in configs if preset != "quick" else ():
        build_device_half(config, 10, SHAPE, init_weights=False)


def test_the_server_is_needed(config):
    device, server = gflops(config("split fp32"))
    assert device <= 0.15 * (device + server)
    own, head = gflops(config("device alone"))
    assert own == device and 0.75 * device < head <= device


def test_the_local_head_has_no_more_than_the_device_half(config):
    frozen = config("freeze and cache, 3 views")
    built = build_device_half(frozen, 10, SHAPE, init_weights=False)
    with torch.device("meta"):
        head, code = LocalHead(frozen.train.local_loss, built.code_shape, 1, 10), torch.empty(1, *built.code_shape)
    with FlopCounterMode(display=False) as counter:
        head(code)
    assert 0.75 < counter.get_total_flops() / 1e9 / gflops(config("split fp32"))[0] <= 1


@pytest.mark.parametrize("ratio", [16, 64, 512])
def test_a_learned_bottleneck_leaves_the_share_that_its_name_says(config, ratio):
    whole = build_device_half(config("split fp32"), 10, SHAPE, init_weights=False).code_shape
    thin = build_device_half(config(f"learned bottleneck, 1/{ratio} of the values"), 10, SHAPE, init_weights=False)
    assert math.prod(whole) == ratio * math.prod(thin.code_shape)


def test_levels_by_transfer_take_a_sixth_of_the_epochs(config):
    prune, plain = config("prune"), config("split fp32")
    shares = [stage.share for stage in prune.schedule.phases]
    assert shares == [plain.train.epochs, *[plain.train.epochs // 6] * (len(shares) - 1)]
    assert sum(shares) == prune.train.epochs
    short = config("from scratch, 1/6 of the epochs: c4·b4/b4·zstd")
    assert short.train.epochs == shares[-1] and config("fixed 4 channels, 4 bits").schedule == short.schedule


def test_the_published_setting(config):
    row = config("paper: deprune", "paper")
    assert (row.model.name, row.train.batch_size, row.train.epochs, row.data.train_rows) == ("vgg11", 16, 22, 45_000)
    assert row.bottleneck.mode == "paper" and row.train.lr_schedule == "constant"
