"""Whole searches as a user starts them: failing trials, stopped searches, and settings of a resumed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raysplit import recipes
from raysplit.family import load_run
from raysplit.folders.search_dir import SearchDir
from raysplit.search.results import find_front

ROOT = Path(__file__).parents[2]
JOB = str(ROOT / "jobs" / "search.py")
BROKEN = """
from ray import tune

def param_space(base):
    return {"cut": tune.choice(["stem", "body"]), "model.args.fails": tune.choice([False, True])}
"""
MODEL = """
import time
from torch import nn

class Net(nn.Module):
    def __init__(self, fails, slow, classes):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.body = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.head = nn.Linear(8, classes)
        self.fails = fails
        self.slow = slow

    def forward(self, x):
        return self.head(self.flat(self.pool(self.body(self.stem(x)))))

    def train(self, mode=True):
        time.sleep(self.slow)
        return super().train(mode)

def net(classes, shape, fails=False, slow=0.0):
    made = Net(fails, slow, classes)
    if fails:
        made.body.register_forward_pre_hook(planted)
    return made

def planted(module, args):
    if module.training and args[0].device.type == "cpu" and args[0].shape[0] > 2:
        raise RuntimeError("planted")

def config():
    from raysplit.config import BottleneckConfig, DataConfig, Fixed, ModelConfig, SplitConfig, TrainConfig
    return SplitConfig(
        name="planted",
        data=DataConfig(name="digits", train_rows=320),
        model=ModelConfig(name=__file__ + ":net", args={"fails": False, "slow": 0.0}),
        cut="stem",
        bottleneck=BottleneckConfig(),
        train=TrainConfig(epochs=2, batch_size=32, device="cpu"),
    )
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "space.py").write_text(BROKEN)
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


def command(files, *words):
    start = [
        "--space",
        str(files / "space.py"),
        "--recipe",
        f"{files / 'model.py'}:config",
        "--out",
        str(files / "out"),
    ]
    return [sys.executable, JOB, *start, "--trials", "4", "--concurrent", "1", "--no-confirm", *words]


def environment(**more):
    return os.environ | more


def last_line(text):
    return json.loads(text.strip().splitlines()[-1])


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray_for_jobs")
def test_failing_trials_are_counted_and_the_front_is_right(files):
    done = subprocess.run(
        command(files), capture_output=True, text=True, timeout=240, cwd=ROOT, env=environment(), check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    result = last_line(done.stdout)
    assert (result["trials"], result["failed"]) == (4, 2)
    folder = SearchDir.at(str(files / "out"))
    trials = folder.trials()
    assert {trial.fault for trial in trials if trial.state == "failed"} == {"RuntimeError: planted"}
    front = find_front(trials, folder.config())
    assert [one["recipe"] for one in result["front"]] == [folder.recipe_file(trial) for trial in front.trials]
    assert result["knee"] == folder.recipe_file(front.knee) and f"knee: trial {front.knee.number}, " in done.stdout
    (files / "model.py").rename(files / "gone.py")  # a network on the front needs no other file
    for trial, one in zip(front.trials, result["front"], strict=True):
        assert recipes.get(one["recipe"]).train.epochs == 2
        assert f"serve run raysplit.serving.split:build family={one['network']}" in done.stdout
        [level] = load_run(one["network"]).family.levels
        assert level.val_accuracy == trial.objectives["accuracy"]
    assert (files / "out" / "front.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.ray
@pytest.mark.slow  # tests/search/test_state.py continues a search in its process
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_search_resumes_without_repeating_trials(files, how, shared_ray):
    slow = command(files, "--set", "model.args.slow=0.3")
    with open(files / "log", "w") as log:
        process = subprocess.Popen(slow, stdout=log, stderr=log, cwd=ROOT, env=environment(), start_new_session=True)
        end = time.monotonic() + 200
        while len(list((files / "out" / "trials").glob("*.json"))) < 2:
            assert process.poll() is None and time.monotonic() < end, (files / "log").read_text()[-2000:]
            time.sleep(0.05)
        os.killpg(process.pid, how) if how == signal.SIGKILL else process.send_signal(how)
        assert process.wait(timeout=60) == (-how if how == signal.SIGKILL else 130)
    if how == signal.SIGINT:
        assert f"--resume {files / 'out'}" in (files / "log").read_text()
        assert not (files / "out" / "front.png").exists()
    before = {path.name: path.read_bytes() for path in (files / "out" / "trials").glob("*.json")}
    resume = [sys.executable, JOB, "--resume", str(files / "out"), "--no-confirm"]
    env = environment(RAY_ADDRESS=shared_ray)
    done = subprocess.run(resume, capture_output=True, text=True, timeout=240, cwd=ROOT, env=env, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    trials = SearchDir.at(str(files / "out")).trials()
    assert len(trials) == 4 and len({json.dumps(trial.point) for trial in trials}) == 4
    for name, data in before.items():
        assert (files / "out" / "trials" / name).read_bytes() == data


def test_a_resumed_search_keeps_its_own_settings(fail_job, tmp_path):
    error = fail_job("search", "--resume", tmp_path, "--trials", 40, "--rate", 5)
    assert error.endswith("leave out --trials, --rate\n")
    assert "is not a search's folder" in fail_job("search", "--resume", tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--space is missing; try --space tune_spaces.cut_and_level"),
        (["--space", "tune_spaces.cut"], "there is no file tune_spaces/cut.py in the working directory"),
        (["--space", "tune_spaces.cut_and_level", "--objectives", "mib"], "no objective 'mib'"),
        (["--space", "tune_spaces.cut_and_level", "--trials", 0], "the search: trials: Input should be greater"),
    ],
)
def test_mistakes(fail_job, monkeypatch, words, message):
    monkeypatch.chdir(ROOT)
    assert message in fail_job("search", "--recipe", "mnist5k_vgg11_uncompressed", *words)
