"""Divergence is an error of the step in which it happens: at every level, in every mode, with every optimizer."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from raysplit.cli import training_job
from raysplit.config import UNCOMPRESSED, BottleneckConfig, Fixed, Prune, Stage
from raysplit.errors import BundleError, DivergenceError
from raysplit.family import write_family
from raysplit.family.bundle import load_family
from raysplit.folders.run_dir import RunDir
from raysplit.torch_utils.checkpoint import pack_state, unpack_state
from raysplit.torch_utils.finite import find_non_finite
from raysplit.train.divergence import locate_step
from raysplit.train.local import train_local
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from tests.train.freezing import freezing_config
from tests.train.recipes import plain_config

WEIGHTS = ("device.safetensors", "server.safetensors", "summary.json")


class Planted(nn.Module):
    """Passes its input on, and goes wrong in the training pass of the given number."""

    def __init__(self, at: int, how: str):
        super().__init__()
        self.at, self.how, self.calls = at, how, 0
        self.scale, self.steep = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        if not self.at or self.calls < self.at:
            return x * self.scale
        if self.how == "value" or (self.how == "evaluation" and not self.training):
            return x * self.scale * math.nan
        if self.how == "gradient":
            return x * self.scale + 0 * (x * 0).sqrt()  # the root's slope at 0 is infinite
        if self.how == "weight":
            self.scale.data.fill_(math.nan)
            return x
        if self.how == "moment":
            return x * self.scale + self.steep * 1e30  # a gradient whose square is beyond float32
        return x * self.scale


def network(near: int = 0, far: int = 0, how: str = "value") -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), Planted(near, how), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        Planted(far, how), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def planted(plain, level: str = str(UNCOMPRESSED), near: int = 0, far: int = 0, how: str = "value", **train):
    """Two epochs of three steps."""
    return plain.replaced(
        model=network(near, far, how),
        cut="2",
        bottleneck=BottleneckConfig() if level.startswith("c") else None,
        schedule=Fixed(level=level),
        train=plain.train.replaced(epochs=2, **train),
    )


LEVELS = [
    "all.b32/b32",
    "all.b16/b16",
    "all.b4/b4",
    "c2.b4/b32",
    "all.b8/b2.ch.zstd",
    "all.k16r4.b32/b8",
    "all.b4/b4.ef",
]


@pytest.mark.parametrize("where", ["near", "far"])
@pytest.mark.parametrize("level", LEVELS)
def test_every_level(plain, level, where):
    loop = Loop(*with_device(planted(plain, level, **{where: 5})))
    with pytest.raises(
        DivergenceError, match=r"^training has diverged in epoch 2/2, step 2/3: .* train.lr below 0.05$"
    ):
        list(loop.epochs())
    assert [record.epoch for record in loop.records] == [0]


@pytest.mark.parametrize("level", LEVELS)
def test_a_gradient_that_is_no_number_while_the_loss_is_one(plain, level):
    loop = Loop(*with_device(planted(plain, level, far=2, how="gradient")))
    with pytest.raises(DivergenceError, match="in epoch 1/2, step 2/3: .*weight of the server half is NaN"):
        list(loop.epochs())


@pytest.mark.parametrize(
    ("level", "what"),
    [
        ("all.b32/b32", "body.0.weight of the device half is NaN or infinite"),
        ("all.b16/b16", "body.0.weight of the device half is NaN or infinite"),
        ("all.b4/b4", "the gradient at the cut is NaN or infinite"),
    ],
)
def test_a_gradient_that_only_the_device_gets(plain, level, what):
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), Planted(2, "gradient"), nn.Flatten(), nn.Linear(512, 10)
    )
    config = planted(plain, level).replaced(model=model, cut="1")
    with pytest.raises(DivergenceError, match=f"in epoch 1/2, step 2/3: {what}"):
        list(Loop(*with_device(config)).epochs())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("in_flight", [1, 2])
def test_every_optimizer_with_a_learning_rate_beyond_all_measure(plain, optimizer, precision, in_flight):
    steep = plain.train.replaced(
        lr=1e30, lr_schedule="constant", optimizer=optimizer, precision=precision, in_flight=in_flight
    )
    with pytest.raises(DivergenceError, match=r"in epoch 1/1, step [123]/3: .* (nan|inf|infinite); .* below 1e\+30$"):
        list(Loop(*with_device(plain.replaced(train=steep))).epochs())


@pytest.mark.parametrize("side", ["device", "server"])
def test_an_optimizer_that_can_no_longer_move_a_weight(plain, side):
    plant = {"near" if side == "device" else "far": 5}
    with pytest.raises(
        DivergenceError, match=rf"validation after epoch 2/2: exp_avg_sq of .*steep of the {side} half's optimizer is"
    ):
        list(Loop(*with_device(planted(plain, **plant, how="moment", optimizer="adamw"))).epochs())


@pytest.mark.parametrize("factor", [1.0, 1e6])
def test_a_huge_loss_is_warned_of(plain, caplog, factor):
    model = network()
    with torch.no_grad():
        model[-1].weight *= factor
    config = plain.replaced(model=model, cut="2", train=plain.train.replaced(epochs=2, lr=1e-20))
    losses = [record.val_loss for record in Loop(*with_device(config)).epochs()]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == (2 if factor > 1 else 0)
    text = f"the validation loss is {losses[0]:.3g}, that of a guess 2.3: training diverges"
    assert all(text in one for one in warned[:1])


def frozen(local: bool, near: int = 0, far: int = 0, how: str = "value"):
    """Epochs alone (or joint), frozen, frozen, cached, together again."""
    config = freezing_config(5, local=local, finish=True)
    return config.replaced(model=network(near, far, how), cut="2")


@pytest.mark.parametrize(
    ("local", "plant", "where"),
    [
        (True, {"near": 2}, "epoch 1/5, step 2/3"),  # alone
        (False, {"near": 2}, "epoch 1/5, step 2/3"),
        (True, {"far": 2}, "epoch 2/5, step 2/3"),  # frozen
        (True, {"far": 8}, "epoch 4/5, step 2/3"),  # cached
        (True, {"near": 4}, "epoch 5/5, step 1/3"),  # together again: the frozen half was not in training
        (False, {"far": 10}, "epoch 4/5, step 1/3"),
        (True, {"near": 1, "how": "evaluation"}, "the validation after epoch 1/5"),
        (True, {"far": 7, "how": "evaluation"}, "the validation after epoch 4/5"),
        (True, {"near": 3, "how": "weight"}, "epoch 1/5, step 3/3"),
        (False, {"near": 2, "how": "weight"}, "epoch 1/5, step 2/3"),
        (True, {"far": 8, "how": "weight"}, "epoch 4/5, step 2/3"),
    ],
)
def test_every_mode(local, plant, where):
    with pytest.raises(DivergenceError, match=f"^training has diverged in {re.escape(where)}: "):
        list(Loop(*with_device(frozen(local, **plant))).epochs())


def test_a_device_that_learns_by_its_own_loss_while_the_server_learns_from_it(plain):
    local = freezing_config(2).train.local_loss
    with pytest.raises(DivergenceError, match="in epoch 1/2, step 3/3: the loss is nan"):
        list(Loop(*with_device(planted(plain, near=3, local_loss=local))).epochs())


def prune(plain, **plant):
    """Three levels of an epoch each."""
    levels = ("all.b8/b8", "c4.b8/b8", "c2.b8/b8")
    return plain.replaced(
        model=network(**plant), cut="2", bottleneck=BottleneckConfig(), train=plain.train.replaced(epochs=3),
        schedule=Prune(phases=tuple(Stage(level=level, share=1) for level in levels)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("plant", "kept", "where"),
    [
        ({"far": 5}, 1, "epoch 2/3, step 2/3"),
        ({"near": 8}, 2, "epoch 3/3, step 2/3"),
        ({"near": 6, "how": "weight"}, 1, "epoch 2/3, step 3/3"),
        ({"far": 4, "how": "evaluation"}, 1, "the validation after epoch 2/3"),
    ],
)
def test_no_level_of_a_family_is_kept_with_nan(plain, tmp_path, plant, kept, where):
    with pytest.raises(DivergenceError, match=f"{where}: .*The last good checkpoint, after epoch {kept}, is "):
        train_local(prune(plain, **plant), str(tmp_path))
    assert sorted(path.name for path in (tmp_path / "levels").iterdir()) == [f"{n}.safetensors" for n in range(kept)]
    assert not [name for name in WEIGHTS if (tmp_path / name).exists()]


def test_nothing_of_the_epoch_is_written_and_the_last_good_checkpoint_is_named(plain, tmp_path):
    with pytest.raises(DivergenceError) as raised:
        train_local(planted(plain, far=4), str(tmp_path))
    folder = RunDir.at(str(tmp_path))
    assert [record.epoch for record in folder.records()] == [0] and folder.summary() is None
    assert not [name for name in WEIGHTS if (tmp_path / name).exists()]
    newest = folder.checkpoints()[-1]
    assert str(raised.value).endswith(f". The last good checkpoint, after epoch 1, is {tmp_path}/{newest}")
    good = unpack_state(folder.read(f"{newest}/state.pt"))
    assert all(value.isfinite().all() for value in good["server"]["half"].values())


def test_a_first_step_that_diverges(plain, tmp_path):
    with pytest.raises(
        DivergenceError, match=r"epoch 1/2, step 1/3: .* The last good checkpoint, before the first epoch, "
    ):
        train_local(planted(plain, near=1), str(tmp_path))
    assert not (tmp_path / "metrics.parquet").exists()


@pytest.mark.parametrize("side", ["device", "server"])
def test_a_checkpoint_with_nan_is_refused(plain, tmp_path, side):
    with pytest.raises(DivergenceError):
        train_local(planted(plain, far=4), str(tmp_path))
    folder = RunDir.at(str(tmp_path))
    file = f"{folder.checkpoints()[-1]}/state.pt"
    state = unpack_state(folder.read(file))
    half = state["server"]["half"] if side == "server" else (device := unpack_state(state["device"]))["half"]
    next(iter(half.values())).flatten()[0] = math.nan
    folder.write(file, pack_state(state if side == "server" else state | {"device": pack_state(device)}))
    message = rf"diverged, and its newest checkpoint with it: body\.\d.weight of the {side} half is NaN .* below 0.05$"
    with pytest.raises(DivergenceError, match=message):
        train_local(planted(plain, far=4), str(tmp_path))


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """A finished prune run of three levels, and its family."""
    place, plain = tmp_path_factory.mktemp("pruned"), plain_config()
    run = str(place / "run")
    train_local(prune(plain).replaced(model=plain.model, cut=plain.cut), run)
    return place


def spoil(file: Path, side: str) -> None:
    """Set a weight of one side of a file to NaN."""
    tensors = load(file.read_bytes())
    name = next(n for n, value in tensors.items() if n.startswith(f"{side}body") and value.is_floating_point())
    tensors[name].fill_(math.nan)
    file.write_bytes(save(tensors))


@pytest.mark.parametrize("side", ["device", "server"])
def test_a_level_of_a_family_with_nan_is_not_served(pruned, tmp_path, side):
    place = tmp_path / "family"
    shutil.copytree(pruned / "run/family", place)
    spoil(place / "levels/1.safetensors", f"{side}.")
    manifest = json.loads((place / "manifest.json").read_text())
    data = (place / "levels/1.safetensors").read_bytes()
    manifest["files"]["levels/1.safetensors"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (place / "manifest.json").write_text(json.dumps(manifest))
    family = load_family(str(place))
    good, bad = (family.device, family.server) if side == "server" else (family.server, family.device)
    good("c4.b8/b8"), bad("c2.b8/b8")
    message = f"^{side}.body.* in levels/1.safetensors of family .* holds NaN: its training diverged; train .* again"
    with pytest.raises(BundleError, match=message):
        bad("c4.b8/b8")
    with pytest.raises(BundleError, match=message):
        (family.device_levels if side == "device" else family.server_levels)(torch.device("cpu"))


@pytest.mark.parametrize(
    ("file", "side"),
    [("levels/1.safetensors", "device."), ("levels/2.safetensors", "server."), ("server.safetensors", "")],
)
def test_a_run_that_ended_with_nan_is_no_result(pruned, tmp_path, file, side):
    """As runs did before divergence was looked for."""
    run = tmp_path / "run"
    shutil.copytree(pruned / "run", run)
    spoil(run / file, side)
    message = rf"^the run in '{run}' has diverged: {side}body.* in {file} holds NaN; begin a new run .* below 0.05$"
    with pytest.raises(DivergenceError, match=message):
        training_job.train(RunDir.at(str(run)).config(), str(run))
    if side:
        with pytest.raises(DivergenceError, match=message):
            write_family(str(run), str(tmp_path / "family"))
        assert not (tmp_path / "family").exists()


def test_an_error_elsewhere_in_a_step_stays_as_it_is(plain):
    with pytest.raises(ZeroDivisionError), locate_step(plain.train, 3, 0):
        _ = 1 // 0


def test_masks_of_infinity_are_no_divergence():
    layer = nn.Linear(2, 2)
    layer.register_buffer("mask", torch.full((2, 2), -math.inf).triu(1).nan_to_num(0, neginf=-math.inf))
    layer.register_buffer("count", torch.zeros((), dtype=torch.int64))
    assert find_non_finite(layer) is None
    layer.mask.fill_(math.nan)
    assert find_non_finite(layer) == "mask"
    with torch.no_grad():
        layer.weight[0, 1] = -math.inf
    assert find_non_finite(layer) == "weight"


def with_device(config):
    return config, LocalDevice(config)
