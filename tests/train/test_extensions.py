"""A user's own schedule, codec, network and data set in a run: in files and in memory, planned, trained and resumed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from raysplit.config import DataConfig, Level, loads
from raysplit.data import load
from raysplit.errors import CodecError, ConfigError, ModelError
from raysplit.folders.reader import read_run
from raysplit.folders.run_dir import RunDir
from raysplit.planner.run_plan import make_run_plan
from raysplit.schedules import Decision
from raysplit.train.local import train_local
from tests.train.recipes import plain_config

OWN = """
import math

import torch

from raysplit.compress import Estimate
from raysplit.config import Level
from raysplit.schedules import Decision
from raysplit.wire.message import Kind, Message, header_size

class Loosen:
    def __init__(self, tight="c2.b4/b4", after=1):
        self.tight, self.after = Level(tight), after

    def levels(self):
        return self.tight, Level("all.b8/b8")

    def decide(self, context, history):
        loose = len(history) >= self.after
        return Decision(self.levels()[loose], "loose" if loose else "tight", fresh_optimizer=loose)

class Half:
    def __init__(self, level, direction, channel_dim):
        self.kind = Kind.ACTIVATION if direction == "up" else Kind.GRADIENT

    def compress(self, tensor, batch=0, channels=None, seed=0, mask=None):
        body = tensor.detach().cpu().to(torch.float16).numpy().tobytes()
        return Message(self.kind, batch, tuple(tensor.shape), tensor.dtype, 16, body)

    def extract(self, message, mask=None):
        half = torch.frombuffer(bytearray(message.body), dtype=torch.float16)
        return half.reshape(message.shape).to(message.dtype)

    def estimate(self, shape):
        return Estimate(header_size(len(shape), 0) + 2 * math.prod(shape), exact=True)
"""


class Net(nn.Module):
    """A network of the user's, small enough for digits."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))

    def forward(self, x):
        return self.last(self.first(x))


class Digits(Dataset):
    """scikit-learn's digits as float tensors in memory."""

    classes = tuple("0123456789")

    def __init__(self, split="train"):
        self._data = load(DataConfig(name="digits", train_rows=96), split)

    def __len__(self):
        return len(self._data.labels)

    def __getitem__(self, index):
        return self._data.images[index].float() / 255, int(self._data.labels[index])


class Steady:
    """A schedule of the user's that always decides alike, on whatever it was made with."""

    def __init__(self, decision=None, levels=("all.b8/b8",)):
        self._levels = tuple(map(Level, levels))
        self._decision = decision or Decision(self._levels[0], "steady")

    def levels(self):
        return self._levels

    def decide(self, context, history):
        return self._decision


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path}/own.py"


@pytest.fixture
def config():
    return plain_config().with_settings(["train.epochs=2", "bottleneck={}"])


class Stop(Exception):
    """Stands for whatever ends a run early."""


def stop(epoch, step, steps, loss):
    if epoch == 1:
        raise Stop


def weights(folder):
    return [folder.read(f"{side}.safetensors") for side in ("device", "server")]


def test_a_schedule_and_a_codec_in_a_file(config, own, tmp_path):
    config = config.with_settings([f"schedule={own}:Loosen", "schedule.args.tight=c3.b4/b4", f"codec={own}:Half"])
    text = str(make_run_plan(config))
    assert "level    c3·b4/b4:" in text and "level    all·b8/b8:" in text
    summary = train_local(config, str(tmp_path / "run"))
    run = read_run(summary.run_dir)
    assert run.config == config and [record.reason for record in run.epochs] == ["tight", "loose"]
    values = 32 * 16 * 2 * 2  # of a batch at the cut
    assert [record.bytes.up_activations for record in run.epochs] == [3 * 2 * values] * 2
    assert [record.bytes.down_gradients for record in run.epochs] == [3 * 2 * values] * 2
    total = f"{summary.traffic / 1e6:,.1f} MB;"
    assert f"traffic  {total}" in text, "the codec's estimate is exact, and so is the plan"
    with pytest.raises(Stop):
        train_local(config, str(tmp_path / "resumed"), on_step=stop)
    resumed = RunDir.at(str(tmp_path / "resumed"))
    train_local(resumed.config(), resumed.path)
    assert weights(resumed) == weights(RunDir.at(summary.run_dir))


def test_objects_in_memory(config, tmp_path):
    torch.manual_seed(0)
    net, given = Net(), [Digits("train"), Digits("test")]
    before, digits = copy.deepcopy(net.state_dict()), config.replaced(model=net, cut="first")
    config = digits.replaced(data=tuple(given), schedule=Steady(), codec=_half_class())
    plan = str(make_run_plan(config))
    assert "object:Digits: 86 training images" in plan and "object:Net, cut at first" in plan
    summary = train_local(config, str(tmp_path / "run"))
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())
    assert read_run(summary.run_dir).config.model.name == "object:Net"

    with pytest.raises(Stop):
        train_local(config, str(tmp_path / "resumed"), on_step=stop)
    resumed = RunDir.at(str(tmp_path / "resumed"))
    recorded = resumed.config()
    for key, text in {"data": "Digits", "model": "Net", "schedule": "Steady", "codec": "Half"}.items():
        with pytest.raises(ConfigError, match=rf"^{key} was an object in memory \({text}\)"):
            train_local(config.replaced(**{key: getattr(recorded, key)}), resumed.path)
        with pytest.raises(ConfigError, match=rf"^{key} was an object in memory \({text}\)"):
            make_run_plan(config.replaced(**{key: getattr(recorded, key)}))
    train_local(config, resumed.path)
    assert weights(resumed) == weights(RunDir.at(summary.run_dir))


def test_training_starts_from_the_modules_own_weights(config, tmp_path):
    """Equal weights under different seeds of initialisation; nothing else depends on the seed of this config."""
    torch.manual_seed(0)
    config = config.replaced(model=Net(), cut="first", bottleneck=None, schedule=Steady(levels=["all.b32/b32"]))
    config = config.with_settings(["train.epochs=1", "data.augment=none", "train.lr=1e-9"])
    train_local(config, str(tmp_path / "run"))
    from safetensors.torch import load as read

    state = {}
    for data in weights(RunDir.at(str(tmp_path / "run"))):
        state |= {key.removeprefix("body."): value for key, value in read(data).items()}
    for key, value in config.model.module.named_parameters():
        assert torch.allclose(state[key], value, atol=1e-6), key


def _half_class():
    space: dict[str, type] = {}
    exec(OWN, space)
    return space["Half"]


def chosen(**changes) -> Decision:
    return Decision(Level("all.b8/b8"), "x", **changes)


class Faulty(Steady):
    def __init__(self, method):
        super().__init__()
        self.method = method

    def levels(self):
        return self.fail("levels") or super().levels()

    def decide(self, context, history):
        return self.fail("decide") or super().decide(context, history)

    def fail(self, method):
        if method == self.method:
            raise KeyError("planted")


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Steady(decision="c4.b4/b4"), "schedule Steady: decide must return a raysplit.schedules.Decision"),
        (
            Steady(decision=Decision(Level(), "x")),
            "chose the level all·b32/b32, levels.. lists all·b8/b8",
        ),
        (Steady(levels=["c40.b4/b4"]), "level c40·b4/b4 keeps 40 channels, 16 cross at cut 'features.7'"),
        (Steady(decision=chosen(mode="cache")), "decide chose the mode 'cache'. Nearest: cached"),
        (Steady(decision=chosen(mode="alone")), "decide chose the mode 'alone', .*; set train.local_loss"),
        (Steady(decision=chosen(mode="cached")), "decide chose the mode 'cached', but nothing is cached"),
        (Steady(decision=chosen(hand_over=True)), "decide chose hand_over=True, .*; set train.local_loss"),
        (Faulty("decide"), "schedule Faulty: decide raised KeyError: 'planted'"),
    ],
)
def test_schedules_that_decide_what_cannot_be(config, tmp_path, schedule, text):
    config = config.replaced(schedule=schedule)
    for call in (lambda c: str(make_run_plan(c)), lambda c: train_local(c, str(tmp_path / "run"))):
        with pytest.raises(ConfigError, match=text):
            call(config)


def test_a_codec_that_returns_what_is_no_message(config, tmp_path):
    class Raw(_half_class()):
        def compress(self, tensor, *given):
            return tensor.numpy().tobytes()

    with pytest.raises(CodecError, match="codec Raw: compress must return a raysplit.wire.message.Message"):
        train_local(config.replaced(codec=Raw), str(tmp_path / "run"))


def test_a_schedule_that_cannot_list_its_levels(config):
    with pytest.raises(ValueError, match="schedule Faulty: levels raised KeyError: 'planted'"):
        config.replaced(schedule=Faulty("levels"))


@pytest.mark.parametrize("method", ["compress", "estimate"])
def test_what_a_codec_raises_names_it(config, tmp_path, method):
    def fail(self, *given):
        raise KeyError("planted")

    Broken = type("Broken", (_half_class(),), {method: fail})
    with pytest.raises(CodecError, match=f"codec Broken: {method} raised KeyError: 'planted'"):
        train_local(config.replaced(codec=Broken), str(tmp_path / "run"))


def test_a_users_schedule_hands_the_head_over(config, tmp_path):
    """The device learns alone, its head crosses, and the server learns from what crossed."""

    class Once(Steady):
        hands_over = True

        def decide(self, context, history):
            mode = ("alone", "frozen", "cached")[len(history)]
            return chosen(mode=mode, hand_over=mode == "frozen")

    config = config.with_settings(["train.local_loss={}", "train.epochs=3"])
    run = RunDir.at(train_local(config.replaced(schedule=Once()), str(tmp_path / "run")).run_dir)
    assert [record.bytes.up_weights > 0 for record in run.records()] == [False, True, False]
    Once.hands_over = False
    with pytest.raises(ConfigError, match="hand_over=True, which needs the attribute hands_over = True"):
        train_local(config.replaced(schedule=Once()), str(tmp_path / "other"))


def test_a_run_in_which_nothing_crosses(config, tmp_path):
    config = config.with_settings(["train.local_loss={}", "train.epochs=1"])
    config = config.replaced(schedule=Steady(decision=chosen(mode="alone")))
    assert "traffic  nothing crosses; fp32 split training " in str(make_run_plan(config))
    assert train_local(config, str(tmp_path / "run")).traffic == 0


def test_a_module_with_too_few_outputs(config, tmp_path):
    net = Net()
    net.last[1] = nn.Linear(256, 5)
    with pytest.raises(ModelError, match=r"object:Net returns \(2, 5\) for 2 images, expected the logits of 10"):
        train_local(config.replaced(model=net, cut="first"), str(tmp_path / "run"))


def test_the_record_of_a_run_with_a_file_that_is_gone_is_still_read(config, own, tmp_path):
    config = config.with_settings([f"schedule={own}:Loosen", f"codec={own}:Half"])
    summary = train_local(config, str(tmp_path / "run"))
    (tmp_path / "own.py").unlink()
    assert read_run(summary.run_dir).config.schedule.target.endswith("own.py:Loosen")
    again = loads(type(config), config.model_dump_json(), "record")
    with pytest.raises(ConfigError, match=r"own.py:Loosen: there is no file"):
        train_local(again, str(tmp_path / "again"))
