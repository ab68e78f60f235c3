"""The plain loop: it learns, it continues where it stopped, and distillation follows the base's predictions."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from raysplit.config import ClassifierFit
from raysplit.ensemble.forward import compute_outputs
from raysplit.ensemble.trainer import ClassifierTrainer, DataParallel, Objective
from raysplit.errors import ConfigError, DivergenceError
from tests.ensemble.tiny_classifier import make_classifier, make_samples

FIT = ClassifierFit(epochs=4, batch_size=16, lr=1e-2, warmup=0.0, device="cpu")


def test_learns_and_reports_every_epoch():
    model = make_classifier()
    rows = list(ClassifierTrainer(Objective(model), make_samples(), FIT, "none").epochs())
    assert [row.epoch for row in rows] == [0, 1, 2, 3]
    assert rows[-1].loss < 0.5 * rows[0].loss and all(row.seconds > 0 for row in rows)
    outputs = compute_outputs(model, make_samples())
    assert outputs.features.shape == (64, 8) and outputs.logits.shape == (64, 2) and not model.training
    assert (outputs.predictions == make_samples().targets).float().mean() > 0.95


def test_a_training_that_continues_ends_with_the_same_weights():
    whole, half, rest = make_classifier(), make_classifier(), make_classifier()
    list(ClassifierTrainer(Objective(whole), make_samples(), FIT, "crop").epochs())
    first = ClassifierTrainer(Objective(half), make_samples(), FIT, "crop")
    epochs = first.epochs()
    next(epochs), next(epochs)
    second = ClassifierTrainer(Objective(rest), make_samples(), FIT, "crop")
    second.restore(first.state())
    assert [row.epoch for row in second.epochs()] == [2, 3]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


def test_the_loss_of_a_net_with_steps_is_their_mean():
    model, data = make_classifier(steps=3), make_samples(8)
    objective = Objective(model.eval(), label_smoothing=0.1)
    x = data.batch(slice(None))
    each = [cross_entropy(logits, data.targets, label_smoothing=0.1) for logits in model(x)]
    assert objective(x, data.targets).item() == pytest.approx(sum(each).item() / 3)
    assert torch.allclose(compute_outputs(model, data).logits, model(x).mean(0))


def test_the_probe_learns_the_bases_predictions_and_is_not_part_of_the_model():
    model, data = make_classifier(), make_samples(teacher=True)
    names = set(model.state_dict())
    objective = Objective(model, distill=5.0, temperature=2.0)
    objective.add_probe(8, 3)
    rows = list(ClassifierTrainer(objective, data, FIT.replaced(epochs=20), "none").epochs())
    outputs = compute_outputs(model, data)
    predictions = objective.probe(outputs.features).argmax(1)
    assert (predictions == 1 - data.targets).float().mean() > 0.95  # the teacher's, not the targets
    assert (outputs.predictions == data.targets).float().mean() > 0.95
    assert rows[-1].loss < rows[0].loss and set(model.state_dict()) == names


def test_without_distill_the_teacher_is_ignored():
    data = make_samples(8, teacher=True)
    plain, taught = Objective(make_classifier().eval()), Objective(make_classifier().eval(), distill=1.0)
    taught.add_probe(8, 3)
    x = data.batch(slice(None))
    assert plain(x, data.targets, data.teacher) == plain(x, data.targets)
    assert taught(x, data.targets, data.teacher) > taught(x, data.targets)


def test_each_of_two_processes_takes_half_of_every_batch():
    seen = []

    class Spy(Objective):
        def forward(self, x, targets, teacher=None):
            seen.append(targets)
            return super().forward(x, targets, teacher)

    data = make_samples()
    for rank in (0, 1):
        next(
            ClassifierTrainer(Spy(make_classifier()), data, FIT, "none", parallel=DataParallel(rank, world=2)).epochs()
        )
    assert {len(batch) for batch in seen} == {8} and len(seen) == 8


def test_each_epoch_can_have_samples_of_its_own():
    asked = []

    def samples_of(epoch):
        asked.append(epoch)
        return make_samples()

    model, twin = make_classifier(), make_classifier()
    list(ClassifierTrainer(Objective(model), samples_of, FIT, "none").epochs())
    list(ClassifierTrainer(Objective(twin), make_samples(), FIT, "none").epochs())
    assert sorted(set(asked)) == [0, 1, 2, 3]
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_step_learns_what_the_plain_one_does(backend, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain, fuse = make_classifier(), make_classifier()
    rows = {
        wanted: list(
            ClassifierTrainer(Objective(model), make_samples(), FIT.replaced(compile=wanted, epochs=1), "none").epochs()
        )
        for wanted, model in ((False, plain), (True, fuse))
    }
    assert rows[True][0].loss == pytest.approx(rows[False][0].loss, rel=0.2)  # dropout draws other numbers
    assert fuse.state_dict().keys() == plain.state_dict().keys()
    assert not torch.equal(fuse.head.weight, make_classifier().head.weight)


def test_what_cannot_be_compiled_is_named(monkeypatch):
    from torch._dynamo.exc import BackendCompilerFailed

    def compile_(module, dynamic):
        def call(*args):
            raise BackendCompilerFailed(lambda: None, RuntimeError("no compiler found"), None)

        return call

    monkeypatch.setattr(torch, "compile", compile_)
    fit = ClassifierTrainer(Objective(make_classifier()), make_samples(), FIT.replaced(compile=True), "none")
    with pytest.raises(ConfigError, match=r"compile: .*no compiler found.*C\+\+ compiler"):
        next(fit.epochs())


def test_a_loss_that_is_no_number_ends_the_training():
    model = make_classifier()
    torch.nn.init.constant_(model.head.bias, float("nan"))
    fit = ClassifierTrainer(Objective(model), make_samples(), FIT, "none", name="sub-model 3")
    message = (
        r"^sub-model 3 has diverged in epoch 1/4, step 1/\d+: the loss is nan; begin again .* below 0.01 \(no epoch"
    )
    with pytest.raises(DivergenceError, match=message):
        list(fit.epochs())
    assert fit.records == ()


def test_the_validation_accuracy_is_recorded_after_each_epoch_and_in_checkpoints():
    accuracies = iter([0.5, 0.75, 0.8, 0.9])
    trainer = ClassifierTrainer(
        Objective(make_classifier()), make_samples(), FIT, "none", evaluate=lambda: next(accuracies)
    )
    epochs = trainer.epochs()
    assert next(epochs).val_accuracy == 0.5
    rows = trainer.state()["rows"]
    assert [list(row) for row in rows] == [["epoch", "loss", "seconds", "val_accuracy"]]
    assert [record.val_accuracy for record in epochs] == [0.75, 0.8, 0.9] and len(trainer.records) == 4
