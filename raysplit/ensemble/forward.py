"""Features and logits of a classifier that has timm's two-part forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from raysplit.data.clips import average_chunks
from raysplit.torch_utils.compute import autocast
from raysplit.torch_utils.seeds import mix

if TYPE_CHECKING:  # what is served needs no training data
    from raysplit.ensemble.samples import Samples

_BATCH_SIZE = 500


class FeatureClassifier(Protocol):
    """A network whose forward pass is `forward_head(forward_features(x))`, as in timm's models and ours."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Return what the head takes, for normalized images (B, C, H, W)."""
        ...

    def forward_head(self, z: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, outputs), of a spiking network (steps, B, outputs); `pre_logits`: features (B, F)."""
        ...


@dataclass(frozen=True)
class NetworkOutputs:
    """What a network computes for some images."""

    features: Tensor
    """(B, F)."""
    logits: Tensor
    """(B, outputs)."""

    @property
    def predictions(self) -> Tensor:
        """Index of the largest logit, int64 (B,)."""
        return self.logits.argmax(1)

    def answer(self, samples: Samples) -> Tensor:
        """Return the class that each image gets, or each recording for all its chunks: int64, as `samples.answered`."""
        return answer(self.logits, samples.chunks)


def answer(logits: Tensor, chunks: Sequence[int] | None) -> Tensor:
    """Return the likeliest class of each row of logits (N, classes), or by the mean probabilities of a clip's chunks.

    >>> answer(torch.tensor([[1.0, 0.0], [0.0, 9.0], [2.0, 0.0]]), chunks=[2, 1]).tolist()
    [1, 0]
    """
    return (logits if chunks is None else average_chunks(logits.softmax(1), chunks)).argmax(1)


def as_feature_classifier(model: nn.Module) -> FeatureClassifier:
    """Return the model typed as what it is; modules do not declare the methods that they add."""
    return cast(FeatureClassifier, model)


def average_steps(logits: Tensor) -> Tensor:
    """Return logits (B, outputs): a spiking network's (steps, B, outputs) averaged over its time steps.

    >>> average_steps(torch.ones(5, 2, 3)).shape, average_steps(torch.ones(2, 3)).shape
    (torch.Size([2, 3]), torch.Size([2, 3]))
    """
    return logits.mean(0) if logits.dim() == 3 else logits


def compute_outputs(
    model: nn.Module, samples: Samples, precision: str = "fp32", augment: str = "none", seed: int = 0
) -> NetworkOutputs:
    """Return a network's features and logits for all samples, float32 on the CPU; it is put into eval mode.

    `precision` bf16 computes under autocast; `augment` and `seed` are those of `prepare_batch`.

    >>> from raysplit.config import ModelConfig
    >>> from raysplit.ensemble.samples import Samples
    >>> from raysplit.models import build
    >>> model = build(ModelConfig(name="vgg5", args={"width": 0.125}), classes=3, shape=(1, 8, 8))
    >>> images, targets = torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1])
    >>> outputs = compute_outputs(model, Samples(images, targets, mean=(0.5,), std=(0.5,)))
    >>> outputs.features.shape, outputs.logits.shape
    (torch.Size([2, 16]), torch.Size([2, 3]))
    """
    model.eval()
    network = as_feature_classifier(model)
    device, dtype = next((p.device, p.dtype) for p in model.parameters())
    features, logits = [], []
    with torch.inference_mode(), autocast(device, precision):
        for first in range(0, len(samples), _BATCH_SIZE):
            x = samples.batch(slice(first, first + _BATCH_SIZE), augment, mix(seed, first)).to(device, dtype)
            z = network.forward_features(x)
            features.append(network.forward_head(z, pre_logits=True).float().cpu())
            logits.append(average_steps(network.forward_head(z)).float().cpu())
    # Clones: inference tensors cannot be trained on.
    return NetworkOutputs(torch.cat(features).clone(), torch.cat(logits).clone())
