"""The heavy stages on a Ray cluster: workers that are lost, faults that are passed on, two workers for the base."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file

from raysplit.config import DataConfig
from raysplit.data import export
from raysplit.ensemble.base_classifier import train_base
from raysplit.ensemble.context import open_build
from raysplit.ensemble.ray_runner import RayRunner
from raysplit.errors import ClusterError, ConfigError, DivergenceError, ModelError
from raysplit.folders.build_dir import BASE_WEIGHTS
from tests.ensemble.tiny_build import config

pytestmark = pytest.mark.ray


@pytest.fixture
def runner(shared_ray):
    return RayRunner()


def two_workers():
    return config(base=config().base.replaced(workers=2))


def test_two_workers_train_the_base_that_one_process_does(runner, tmp_path):
    for split in ("train", "test"):
        export(DataConfig(name="digits"), split, tmp_path / f"data/{split}.parquet")
    data = config().data.replaced(name=f"parquet:{os.path.relpath(tmp_path / 'data')}")  # where the user is
    runner.train_base(open_build(two_workers().replaced(data=data), str(tmp_path / "two")), print)
    train_base(open_build(config(data=data), str(tmp_path / "one")), print)
    one, two = (load_file(tmp_path / name / BASE_WEIGHTS) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_base_that_diverges_in_two_workers_says_so(runner, tmp_path):
    base = two_workers().base
    steep = config(base=base.replaced(train=base.train.replaced(optimizer="sgd", lr=1e30)))
    with pytest.raises(DivergenceError, match="^the base has diverged in epoch 1/"):
        runner.train_base(open_build(steep, str(tmp_path)), print)


@pytest.mark.slow  # the faults of one worker alone are below
def test_a_fault_of_one_worker_is_told_while_the_others_wait(runner, tmp_path):
    (tmp_path / "base").write_text("in the way")  # of what the first one writes
    with pytest.raises(ConfigError, match="base"):
        runner.train_base(open_build(two_workers(), str(tmp_path)), print)
    assert not (tmp_path / "fault.json").exists()


def test_more_workers_than_the_cluster_has_are_refused_at_once(runner, tmp_path):
    many = config(base=config().base.replaced(workers=3))
    with pytest.raises(
        ConfigError, match="base.workers is 3, the cluster has 2 CPUs; lower base.workers, or add nodes"
    ):
        runner.train_base(open_build(many, str(tmp_path)), print)
    assert not list(tmp_path.iterdir())


def test_what_is_done_is_logged(runner, tmp_path):
    folder, lines = str(tmp_path), []
    runner.run_each(lambda index: open(f"{folder}/{index}", "w").close(), range(3), "part {}".format, lines.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    assert sorted(lines) == [f"part {index} is done" for index in range(3)]


def test_a_fault_of_the_users_making_comes_as_it_is(runner):
    def fault(index):
        raise ModelError(f"{index} has diverged")

    with pytest.raises(ModelError, match="^1 has diverged$"):
        runner.run_each(fault, [1], str, print)


def test_a_worker_that_is_lost_again_and_again_is_named(runner, tmp_path):
    folder = str(tmp_path)

    def die(index):
        open(f"{folder}/{len(os.listdir(folder))}", "w").close()
        os._exit(1)

    with pytest.raises(
        ClusterError, match="sub-model 4: its worker was lost 3 times: .*continue the build with --resume"
    ):
        runner.run_each(die, [4], "sub-model {}".format, print)
    assert len(os.listdir(folder)) == 3
