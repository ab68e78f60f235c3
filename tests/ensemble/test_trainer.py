"""The plain loop: it learns, it goes on where it stopped, and distillation asks for the base's answers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from raysplit.config import ClassifierFit
from raysplit.ensemble.trainer import Fit, Objective, Samples, outputs
from raysplit.errors import ConfigError, ModelError

FIT = ClassifierFit(epochs=4, batch_size=16, lr=1e-2, warmup=0.0, device="cpu")


class Net(nn.Module):
    """A classifier with timm's three calls; with `steps` its head answers at each step."""

    def __init__(self, steps: int = 0):
        super().__init__()
        self.body, self.head, self.drop, self.steps = nn.Linear(16, 8), nn.Linear(8, 2), nn.Dropout(0.2), steps

    def forward_features(self, x):
        return self.drop(self.body(x.flatten(1)).relu())

    def forward_head(self, z, pre_logits=False):
        if pre_logits:
            return z
        logits = self.head(z)
        return torch.stack([logits * (step + 1) for step in range(self.steps)]) if self.steps else logits

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


def samples(rows=64, teacher=False):
    """Dark images are class 0, bright ones class 1."""
    torch.manual_seed(0)
    targets = torch.arange(rows) % 2
    images = (torch.randint(0, 100, (rows, 1, 4, 4)) + 120 * targets.view(-1, 1, 1, 1)).to(torch.uint8)
    logits = 8.0 * torch.nn.functional.one_hot(1 - targets, 3) if teacher else None
    return Samples(images, targets, (0.5,), (0.25,), logits)


def net(**kwargs):
    torch.manual_seed(1)
    return Net(**kwargs)


def test_learns_and_reports_every_epoch():
    model = net()
    rows = list(Fit(Objective(model), samples(), FIT, "none").epochs())
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"] and all(row["seconds"] > 0 for row in rows)
    features, logits = outputs(model, samples())
    assert features.shape == (64, 8) and logits.shape == (64, 2) and not model.training
    assert (logits.argmax(1) == samples().targets).float().mean() > 0.95


def test_a_fit_that_goes_on_ends_with_the_same_weights():
    whole, half, rest = net(), net(), net()
    list(Fit(Objective(whole), samples(), FIT, "crop").epochs())
    first = Fit(Objective(half), samples(), FIT, "crop")
    epochs = first.epochs()
    next(epochs), next(epochs)
    second = Fit(Objective(rest), samples(), FIT, "crop")
    second.restore(first.state())
    assert [row["epoch"] for row in second.epochs()] == [2, 3]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


def test_the_loss_of_a_net_with_steps_is_their_mean():
    model, data = net(steps=3), samples(8)
    objective = Objective(model.eval(), label_smoothing=0.1)
    x = data.batch(slice(None))
    each = [cross_entropy(logits, data.targets, label_smoothing=0.1) for logits in model(x)]
    assert objective(x, data.targets).item() == pytest.approx(sum(each).item() / 3)
    assert torch.allclose(outputs(model, data)[1], model(x).mean(0))


def test_the_probe_learns_what_the_base_says_and_is_not_part_of_the_model():
    model, data = net(), samples(teacher=True)
    names = set(model.state_dict())
    objective = Objective(model, distill=5.0, temperature=2.0).with_probe(8, 3)
    rows = list(Fit(objective, data, FIT.replaced(epochs=20), "none").epochs())
    answers = objective.probe(outputs(model, data)[0]).argmax(1)
    assert (answers == 1 - data.targets).float().mean() > 0.95  # the teacher's, not the targets
    assert (outputs(model, data)[1].argmax(1) == data.targets).float().mean() > 0.95
    assert rows[-1]["loss"] < rows[0]["loss"] and set(model.state_dict()) == names


def test_without_distill_the_teacher_is_not_heard():
    data = samples(8, teacher=True)
    plain, taught = Objective(net().eval()), Objective(net().eval(), distill=1.0).with_probe(8, 3)
    x = data.batch(slice(None))
    assert plain(x, data.targets, data.teacher) == plain(x, data.targets)
    assert taught(x, data.targets, data.teacher) > taught(x, data.targets)


def test_each_of_two_processes_takes_half_of_every_batch():
    seen = []

    class Spy(Objective):
        def forward(self, x, targets, teacher=None):
            seen.append(targets)
            return super().forward(x, targets, teacher)

    data = samples()
    for rank in (0, 1):
        next(Fit(Spy(net()), data, FIT, "none", rank=rank, world=2).epochs())
    assert {len(batch) for batch in seen} == {8} and len(seen) == 8


def test_bf16_models_get_bf16_images():
    model = net().to(torch.bfloat16)
    features, logits = outputs(model, samples())
    assert features.dtype == logits.dtype == torch.float32 and torch.isfinite(logits).all()


def test_each_epoch_can_have_samples_of_its_own():
    asked = []

    def of(epoch):
        asked.append(epoch)
        return samples()

    model, twin = net(), net()
    list(Fit(Objective(model), of, FIT, "none").epochs())
    list(Fit(Objective(twin), samples(), FIT, "none").epochs())
    assert sorted(set(asked)) == [0, 1, 2, 3]
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))


def test_a_compiled_step_learns_what_the_plain_one_does():
    plain, fuse = net(), net()
    rows = {
        wanted: list(Fit(Objective(model), samples(), FIT.replaced(compile=wanted, epochs=1), "none").epochs())
        for wanted, model in ((False, plain), (True, fuse))
    }
    assert rows[True][0]["loss"] == pytest.approx(rows[False][0]["loss"], rel=0.2)  # dropout draws other numbers
    assert fuse.state_dict().keys() == plain.state_dict().keys()
    assert not torch.equal(fuse.head.weight, net().head.weight)


def test_what_cannot_be_compiled_is_named(monkeypatch):
    from torch._dynamo.exc import BackendCompilerFailed

    def compile_(module, dynamic):
        def call(*args):
            raise BackendCompilerFailed(lambda: None, RuntimeError("no compiler found"), None)

        return call

    monkeypatch.setattr(torch, "compile", compile_)
    fit = Fit(Objective(net()), samples(), FIT.replaced(compile=True), "none")
    with pytest.raises(ConfigError, match=r"compile: .*no compiler found.*C\+\+ compiler"):
        next(fit.epochs())


def test_a_loss_that_is_no_number_ends_the_training():
    model = net()
    torch.nn.init.constant_(model.head.bias, float("nan"))
    fit = Fit(Objective(model), samples(), FIT, "none", name="sub-model 3")
    message = "sub-model 3 has diverged: the loss of epoch 1 is not a number; begin again .* below 0.01"
    with pytest.raises(ModelError, match=message):
        list(fit.epochs())
    assert fit.rows == []
