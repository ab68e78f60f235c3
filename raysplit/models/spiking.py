"""Spiking VGG (EC-SNN: Yu et al., IJCAI 2024) on SpikingJelly's layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from raysplit.errors import MissingExtra
from raysplit.models.vgg import stages

try:
    from spikingjelly.activation_based import functional, layer, neuron, surrogate
except ModuleNotFoundError as err:
    raise MissingExtra.of("spikingjelly", "snn", "a spiking VGG") from err


class SpikingVGG(nn.Module):
    """A VGG whose activations are spikes, 0 or 1; it sees the same image for `steps` time steps T.

    Takes (B, C, H, W) floats and returns (B, classes) logits: the mean over all steps of the logits that
    `forward_head(forward_features(x))` returns as (T, B, classes). With `pre_logits=True` that returns (B, last
    channels): the share of positions and steps with a spike in each of the last maps.

    Convolutions without biases, batch norm over all steps, leaky integrate-and-fire neurons with SpikingJelly's
    defaults except for τ = 4/3, the ATan surrogate gradient and a detached reset; average pools that round up;
    a classifier of Linear, batch norm, neurons and Linear (without that norm the neurons hardly fire at first, and
    training starts late). Each call starts with neurons at rest and leaves them at rest. `width`, `channels` and
    `hidden` are VGG's.
    """

    activation = neuron.LIFNode

    def __init__(
        self,
        name: str,
        classes: int,
        in_channels: int = 3,
        width: float = 1.0,
        channels: Sequence[int] | None = None,
        hidden: int | None = None,
        steps: int = 5,
    ):
        super().__init__()
        self.name = name
        self.steps = steps
        layers: list[nn.Module] = []
        inputs = in_channels
        for stage in stages(name.removeprefix("spiking_"), width, channels):
            for out in stage:
                layers += [
                    layer.Conv2d(inputs, out, 3, padding=1, bias=False, step_mode="m"),
                    layer.BatchNorm2d(out, step_mode="m"),
                    _neurons(),
                ]
                inputs = out
            layers.append(layer.AvgPool2d(2, ceil_mode=True, step_mode="m"))
        self.features = nn.Sequential(*layers)
        hidden = inputs if hidden is None else hidden
        self.classifier = nn.Sequential(
            layer.Linear(inputs, hidden, bias=False, step_mode="m"),
            layer.BatchNorm1d(hidden, step_mode="m"),
            _neurons(),
            layer.Linear(hidden, classes, step_mode="m"),
        )
        for module in layers:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the pooled last spikes, (T, B, channels, h, w)."""
        with _at_rest(self.features):
            # Before the first neurons all steps are equal, batch statistics included: one step is enough.
            current = self.features[:2](x[None])
            spikes: Tensor = self.features[2:](current.expand(self.steps, *current.shape[1:]))
            return spikes

    def forward_head(self, z: Tensor, pre_logits: bool = False) -> Tensor:
        rates = z.mean((3, 4))
        if pre_logits:
            return rates.mean(0)
        with _at_rest(self.classifier):
            logits: Tensor = self.classifier(rates)
            return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x)).mean(0)


@torch.no_grad()
def spike_rate(model: SpikingVGG, x: Tensor) -> float:
    """Return the spikes per image of x (B, C, H, W) in eval mode: mean over images, sum over layers and steps.

    EC-SNN's proxy for energy.
    """
    counts: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, spikes: counts.append(spikes.sum(dtype=torch.float64)))
        for module in model.modules()
        if isinstance(module, model.activation)
    ]
    training = model.training
    try:
        model.eval()(x)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return float(sum(counts)) / len(x)


def _neurons() -> nn.Module:
    neurons: nn.Module = neuron.LIFNode(
        tau=4 / 3, surrogate_function=surrogate.ATan(), detach_reset=True, step_mode="m"
    )
    return neurons


@contextmanager
def _at_rest(part: nn.Module) -> Iterator[None]:
    """Reset the neurons' potentials before and after: a network whose potentials have a graph cannot be copied."""
    functional.reset_net(part)
    try:
        yield
    finally:
        functional.reset_net(part)
