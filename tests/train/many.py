"""Small runs of several devices, and the same training in plain PyTorch: no raysplit between data and weights."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from raysplit.config import UNCOMPRESSED, DataConfig, DevicesConfig, Fixed, ModelConfig, SplitConfig, TrainConfig
from raysplit.data import batch_order, load_shard, prepare_batch
from raysplit.torch_utils.optim import lr_at
from raysplit.torch_utils.seeds import generator, mix, seeded
from raysplit.train.device import device_seed

CPU = torch.device("cpu")
CUT = 3


def network() -> nn.Sequential:
    """Convolution, batch norm and dropout on both sides of the cut, for digits of 8×8 pixels."""
    with seeded(5, CPU):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Dropout(0.1),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(96, 10),
        )


def many_config(mode: str, count: int = 3, epochs: int = 2, **devices: Any) -> SplitConfig:
    """Devices with shards of unequal size, momentum, a moving learning rate; nothing is compressed."""
    return SplitConfig(
        name="digits_many",
        data=DataConfig(name="digits", train_rows=160, augment="crop"),
        model=ModelConfig(module=network()),
        cut=str(CUT),
        bottleneck=None,
        schedule=Fixed(level=UNCOMPRESSED),
        train=TrainConfig(epochs=epochs, batch_size=16, lr=0.05, seed=3, device="cpu"),
        devices=DevicesConfig.model_validate({"mode": mode, "count": count, "shards": "dirichlet(1)"} | devices),
    )


class Site:
    """A device: its shard, its copy of the first layers (and of those after a second cut), and their optimizer."""

    def __init__(self, config: SplitConfig, index: int, front: nn.Module, tail: nn.Module | None = None):
        self.config, self.index, self.front, self.tail = config, index, deepcopy(front), deepcopy(tail)
        self.own = nn.ModuleList([self.front] if self.tail is None else [self.front, self.tail])
        self.data = load_shard(config.data, config.devices, index, config.train.batch_size, "train")
        self.steps = len(self.data.labels) // config.train.batch_size
        self.seed = device_seed(config.train.seed, index)
        self.sgd = make_sgd(self.own, config)

    def batches(self, epoch: int) -> list[torch.Tensor]:
        batch = self.config.train.batch_size
        return batch_order(len(self.data.labels), batch, mix(self.seed, "order"), epoch)

    def forward(self, rows: torch.Tensor, number: int, mean: Any, std: Any) -> torch.Tensor:
        x = prepare_batch(self.data.images[rows], mean, std, "crop", mix(self.seed, "augment", number))
        with seeded(mix(self.seed, "device", number), CPU):
            return self.front.train()(x)

    def lose(self, features: torch.Tensor, rows: torch.Tensor, number: int) -> torch.Tensor:
        """Train the tail; return the gradient of the mean loss over these rows."""
        z = features.detach().requires_grad_()
        with seeded(mix(self.seed, "tail", number), CPU):
            logits = self.tail.train()(z)
        cross_entropy(logits, self.data.labels[rows], label_smoothing=self.config.train.label_smoothing).backward()
        return z.grad

    def step(self, number: int) -> None:
        sgd_step(self.sgd, self.config.train, number, self.steps)


def make_sgd(module: nn.Module, config: SplitConfig) -> torch.optim.SGD:
    train = config.train
    return torch.optim.SGD(module.parameters(), lr=0.1, momentum=train.momentum, weight_decay=train.weight_decay)


def sgd_step(sgd: torch.optim.SGD, train: TrainConfig, number: int, epoch_steps: int) -> None:
    sgd.param_groups[0]["lr"] = lr_at(train, number, epoch_steps * train.epochs)
    sgd.step()
    sgd.zero_grad()


def pooled(sites: list[Site]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of all training images, from sums over each device's pixels."""
    pixels = [site.data.images.double().flatten() / 255 for site in sites]
    count = sum(part.numel() for part in pixels)
    mean = sum(part.sum() for part in pixels) / count
    square = sum((part * part).sum() for part in pixels) / count
    return (float(mean),), (float((square - mean * mean).sqrt()),)


def shared(module: nn.Module) -> list[torch.Tensor]:
    """Parameters and the statistics of batch norm."""
    return [*module.parameters(), *(buffer for buffer in module.buffers() if buffer.is_floating_point())]


@torch.no_grad()
def average(modules: list[nn.Module], weights: list[int], into: list[nn.Module]) -> None:
    """Load the weighted mean of some modules into others."""
    for tensors in zip(*(shared(module) for module in (*modules, *into)), strict=True):
        own = tensors[: len(modules)]
        total = sum(weight * tensor.double() for weight, tensor in zip(weights, own, strict=True)) / sum(weights)
        for tensor in tensors[len(modules) :]:
            tensor.copy_(total.float())


def train_plainly(config: SplitConfig) -> tuple[dict[str, torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Train by the published algorithm of the config's mode; return the server's and each device's weights."""
    net, devices, train = network(), config.devices, config.train
    first, last = int(config.cut) + 1, len(net) if config.cut_back is None else int(config.cut_back) + 1
    front, back, tail = net[:first], net[first:last], None if config.cut_back is None else net[last:]
    sites = [Site(config, index, front, tail) for index in range(devices.count)]
    mean, std = pooled(sites)
    each = devices.mode in ("splitfed_v1", "fedavg")
    backs = [deepcopy(back) for _ in sites] if each else [back]
    optimizers = [make_sgd(one, config) for one in backs]
    merged = devices.mode == "merged"
    for epoch in range(train.epochs):
        order = list(range(devices.count))
        if devices.mode == "splitfed_v2":
            order = torch.randperm(len(order), generator=generator("turns", train.seed, epoch)).tolist()
        groups = [order] if merged else [[index] for index in order]
        together = max(site.steps for site in sites) if merged else sum(site.steps for site in sites)
        number = epoch * together
        for turn, group in enumerate(groups):
            if devices.mode == "relay" and (turn or epoch):
                average([sites[(group[0] - 1) % len(sites)].own], [1], [sites[group[0]].own])
            mine = group[0] if each else 0
            if each:
                together, number = sites[mine].steps, epoch * sites[mine].steps
            for step in range(max(sites[index].steps for index in group)):
                active = [sites[index] for index in group if step < sites[index].steps]
                rows = [site.batches(epoch)[step] for site in active]
                own = [epoch * site.steps + step for site in active]
                codes = [s.forward(r, n, mean, std) for s, r, n in zip(active, rows, own, strict=True)]
                labels = torch.cat([site.data.labels[r] for site, r in zip(active, rows, strict=True)])
                joined = torch.cat([code.detach() for code in codes]).requires_grad_()
                with seeded(mix(sites[mine].seed if each else train.seed, "server", number), CPU):
                    output = backs[mine].train()(joined)
                if tail is None:
                    cross_entropy(output, labels).backward()
                else:
                    features = output.split([len(r) for r in rows])
                    found = [s.lose(f, r, n) for s, f, r, n in zip(active, features, rows, own, strict=True)]
                    weighed = [g if len(g) == len(labels) else g * (len(g) / len(labels)) for g in found]
                    output.backward(torch.cat(weighed))
                sgd_step(optimizers[mine], train, number, together)
                grads = joined.grad.split([len(r) for r in rows])
                for site, code, grad, n in zip(active, codes, grads, own, strict=True):
                    code.backward(grad * (len(labels) / len(grad)) if merged else grad)
                    site.step(n)
                number += 1
        samples = [site.steps * train.batch_size for site in sites]
        if devices.mode == "relay":
            average([sites[order[-1]].own], [1], [site.own for site in sites])
        elif devices.count > 1:
            owned = [sites[index].own for index in order]
            average(owned, [samples[index] for index in order], [site.own for site in sites])
            if each:
                average(list(backs), samples, list(backs))
    return backs[0].state_dict(), [_named(site.own) for site in sites]


def _named(own: nn.ModuleList) -> dict[str, torch.Tensor]:
    """Return a device's weights under the names that they have in the network."""
    return {name.partition(".")[2]: tensor for name, tensor in own.state_dict().items()}
