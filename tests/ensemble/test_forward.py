"""Features and logits of whole data sets."""

from __future__ import annotations

import torch

from raysplit.ensemble.forward import average_steps, compute_outputs
from tests.ensemble.tiny_classifier import make_classifier, make_samples


def test_bf16_models_get_bf16_images():
    model = make_classifier().to(torch.bfloat16)
    outputs = compute_outputs(model, make_samples())
    assert outputs.features.dtype == outputs.logits.dtype == torch.float32
    assert torch.isfinite(outputs.logits).all()


def test_batches_do_not_matter():
    model, samples = make_classifier().eval(), make_samples(600)
    outputs = compute_outputs(model, samples)
    with torch.no_grad():
        torch.testing.assert_close(outputs.logits, model(samples.batch(slice(None))))
    assert not outputs.features.is_inference(), "they can be trained on"
    assert torch.equal(outputs.predictions, outputs.logits.argmax(1))


def test_logits_of_time_steps_are_averaged():
    model, samples = make_classifier(steps=3).eval(), make_samples(8)
    with torch.no_grad():
        steps = model(samples.batch(slice(None)))
    assert steps.shape == (3, 8, 2)
    torch.testing.assert_close(compute_outputs(model, samples).logits, steps.mean(0))
    assert torch.equal(average_steps(steps[0]), steps[0])
