"""What a network returns is checked before it is trained: by the dry run and by training, with the same error."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from raysplit.config import LocalLoss, ModelConfig
from raysplit.errors import ModelError
from raysplit.planner.run_plan import check_run
from raysplit.train.halves import build_device_half, build_halves, build_server_half
from raysplit.train.local import train_local

SHAPE = (1, 8, 8)


@dataclasses.dataclass
class Output:
    logits: torch.Tensor


class Wrapped(nn.Module):
    """A network of ten classes whose output is changed by a function of it and of the module."""

    def __init__(self, how, outputs=10):
        super().__init__()
        body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.body, self.head, self.how = body, nn.Linear(4, outputs), how

    def forward(self, x):
        return self.how(self, self.head(self.body(x)))


def keep(module, y):
    return y


FAULTS = {
    "many": (keep, 11, r"returns float32 of shape \(2, 11\) for 2 images in train mode: .* \(2, 10\); give its last"),
    "few": (keep, 9, r"returns float32 of shape \(2, 9\) for 2 images in train mode"),
    "grid": (lambda m, y: y[:, :, None, None], 10, r"returns float32 of shape \(2, 10, 1, 1\) .*; add a pooling"),
    "steps": (lambda m, y: torch.stack([y, y]), 10, r"returns float32 of shape \(2, 2, 10\) .*; add a pooling"),
    "flat": (lambda m, y: y.flatten(), 10, r"returns float32 of shape \(20,\) .*; keep the batch dimension"),
    "dict": (lambda m, y: {"logits": y, "aux": y}, 10, "returns a dict of 'logits', 'aux' .*; return one of its"),
    "list": (lambda m, y: [y], 10, "returns a list for 2 images in train mode: .*; return that alone"),
    "tuple_in_train": (lambda m, y: (y, y) if m.training else y, 10, "returns a tuple for 2 images in train mode"),
    "tuple_in_eval": (lambda m, y: y if m.training else (y, y), 10, "returns a tuple for 2 images in eval mode"),
    "dataclass": (lambda m, y: Output(y), 10, "(returns a Output for|cannot be traced)"),
    "integers": (lambda m, y: y.argmax(1), 10, r"returns int64 of shape \(2,\) .*; leave out its argmax"),
    "softmax": (lambda m, y: y.softmax(1), 10, "returns probabilities in train mode, the loss takes logits: omit the"),
    "softmax_in_eval": (
        lambda m, y: y if m.training else torch.softmax(y, 1), 10, "returns probabilities in eval mode",
    ),
    "squeezed": (lambda m, y: y[:, :, None, None].squeeze(), 10, r"float32 of shape \(10,\) for 1 image in eval"),
    "squeezed_to_one": (lambda m, y: y[None].squeeze(), 10, r"shape \(10,\) for 1 image in eval mode: .*squeeze"),
    "in_place": (
        lambda m, y: y.sigmoid().mul_(2) if m.training else y, 10, "cannot be trained on .* of 32 images: Runtime"
    ),
}  # fmt: skip


def build_faulty(classes, shape, fault):
    how, outputs, _ = FAULTS[fault]
    return Wrapped(how, outputs)


def with_network(plain, how):
    return plain.replaced(model=Wrapped(how), cut="body.2")


@pytest.mark.parametrize("fault", FAULTS)
def test_the_dry_run_and_training_refuse_alike(plain, tmp_path, fault):
    model = ModelConfig(name=f"{__file__}:build_faulty", args={"fault": fault})
    config = plain.replaced(model=model, cut="body.2")
    with pytest.raises(ModelError, match=f"^model .*{FAULTS[fault][2]}") as dry:
        check_run(config)
    with pytest.raises(ModelError) as trained:
        train_local(config, str(tmp_path))
    assert str(trained.value) == str(dry.value) and "\n" not in str(dry.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", [keep, lambda m, y: torch.log_softmax(y, 1), lambda m, y: y.half().float()])
def test_what_is_right_is_let_through(plain, how):
    build_halves(with_network(plain, how), 10, SHAPE)


def pooled(norm):
    """One value per channel reaches a batch norm, in one half or the other."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 8), *norm[:1], nn.ReLU(), nn.Conv2d(4, 4, 1), *norm[1:], nn.Flatten(), nn.Linear(4, 10)
    )


@pytest.mark.parametrize("norm", [(nn.BatchNorm2d(4),), (nn.Identity(), nn.BatchNorm2d(4))])
def test_a_batch_norm_with_one_value_per_channel(plain, norm):
    def config(**train):
        return plain.replaced(model=pooled(norm), cut="2", train=plain.train.replaced(**train))

    for settings in ({"in_flight": 8, "batch_size": 8}, {"batch_size": 1}):
        with pytest.raises(
            ModelError, match=r"micro-batches of 1 image: .* 1 value .* train.in_flight \(\d\) or raise train.batch_"
        ):
            check_run(config(**settings))
    check_run(config(in_flight=4, batch_size=8))


def test_a_batch_norm_in_the_devices_own_head(plain):
    local = {"local_loss": LocalLoss(width=4, layers=3), "batch_size": 2, "in_flight": 2}
    config = plain.replaced(
        model=nn.Sequential(nn.Conv2d(1, 4, 8), nn.ReLU(), nn.Flatten(), nn.Linear(4, 10)), cut="1",
        train=plain.train.replaced(**local),
    )  # fmt: skip
    with pytest.raises(ModelError, match="micro-batches of 1 image: .*lower train.in_flight"):
        build_server_half(config, 10, SHAPE)


def test_halves_for_answers_alone_need_no_step(plain):
    config = plain.replaced(train=plain.train.replaced(batch_size=1))
    build_device_half(config, 10, SHAPE, init_weights=False)
    build_server_half(config, 10, SHAPE, init_weights=False)
    with pytest.raises(ModelError, match="micro-batches of 1 image"):
        build_server_half(config, 10, SHAPE)


def test_networks_in_memory_with_nan_or_hooks_that_a_copy_loses(plain):
    broken = Wrapped(keep)
    broken.head.weight.data[0, 0] = float("nan")
    with pytest.raises(ModelError, match="holds NaN or infinity in head.weight: give it other weights"):
        check_run(plain.replaced(model=broken, cut="body.2"))
    for method in ("register_hook", "register_post_accumulate_grad_hook"):
        hooked = Wrapped(keep)
        getattr(hooked.head.bias, method)(lambda grad: None)
        with pytest.raises(ModelError, match="parameter head.bias of model .* has a hook on its gradient"):
            check_run(plain.replaced(model=hooked, cut="body.2"))
