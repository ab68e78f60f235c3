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
    """A device: its shard, its copy of the first layers and their optimizer."""

    def __init__(self, config: SplitConfig, index: int, front: nn.Module):
        self.config, self.index, self.front = config, index, deepcopy(front)
        self.data = load_shard(config.data, config.devices, index, config.train.batch_size, "train")
        self.steps = len(self.data.labels) // config.train.batch_size
        self.seed = device_seed(config.train.seed, index)
        self.sgd = make_sgd(self.front, config)

    def batches(self, epoch: int) -> list[torch.Tensor]:
        batch = self.config.train.batch_size
        return batch_order(len(self.data.labels), batch, mix(self.seed, "order"), epoch)

    def forward(self, rows: torch.Tensor, number: int, mean: Any, std: Any) -> torch.Tensor:
        x = prepare_batch(self.data.images[rows], mean, std, "crop", mix(self.seed, "augment", number))
        with seeded(mix(self.seed, "device", number), CPU):
            return self.front.train()(x)

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
    front, back = net[: CUT + 1], net[CUT + 1 :]
    sites = [Site(config, index, front) for index in range(devices.count)]
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
                average([sites[(group[0] - 1) % len(sites)].front], [1], [sites[group[0]].front])
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
                    loss = cross_entropy(backs[mine].train()(joined), labels)
                loss.backward()
                sgd_step(optimizers[mine], train, number, together)
                grads = joined.grad.split([len(r) for r in rows])
                for site, code, grad, n in zip(active, codes, grads, own, strict=True):
                    code.backward(grad * (len(labels) / len(grad)) if merged else grad)
                    site.step(n)
                number += 1
        samples = [site.steps * train.batch_size for site in sites]
        if devices.mode == "relay":
            average([sites[order[-1]].front], [1], [site.front for site in sites])
        elif devices.count > 1:
            fronts = [sites[index].front for index in order]
            average(fronts, [samples[index] for index in order], [site.front for site in sites])
            if each:
                average(list(backs), samples, list(backs))
    return backs[0].state_dict(), [site.front.state_dict() for site in sites]
