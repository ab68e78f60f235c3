"""The device side of training: owns the data, the first half and the encoder. No Ray in here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from raysplit.compress.codec import Codec, extract, pack_labels
from raysplit.compress.message import Kind, parse
from raysplit.compress.schedule import Decision
from raysplit.config import SplitConfig
from raysplit.data import batch_order, load, mean_std, prepare_batch
from raysplit.errors import WireError
from raysplit.train.checkpoint import pack_state, unpack_state
from raysplit.train.optim import HalfOptimizer
from raysplit.train.parts import build_parts, pick_device
from raysplit.train.seeds import mix, seeded


class DeviceSide:
    """What a device does in a run. Every argument and answer is plain data; tensors cross as messages only.

    Micro-batches are numbered through the run: number = step · in_flight + position in the step.
    """

    def __init__(self, config: SplitConfig):
        self._config = config
        self._train = config.train
        self._torch_device = pick_device(config.train.device)
        self._sets = {split: load(config.data, split) for split in ("train", "val", "test")}
        self._mean, self._std = mean_std(self._sets["train"].images)
        parts = build_parts(config, len(self._sets["train"].classes), self._shape())
        self._cut = parts.cut
        self._half = parts.device.to(self._torch_device)
        if self._train.channels_last:
            self._half = self._half.to(memory_format=torch.channels_last)
        self._steps = len(self._sets["train"].labels) // self._train.batch_size
        paper = config.bottleneck is not None and config.bottleneck.mode == "paper"
        self._optimizer = HalfOptimizer(self._half, self._train, self._steps * self._train.epochs, paper)
        self._pending: dict[int, tuple[torch.Tensor, torch.Tensor | None]] = {}
        self._codec = Codec(config.levels()[0], "up", self._cut.channel_dim)
        self._busy = 0.0

    def describe(self) -> dict[str, Any]:
        """Return what the server must know of the data, which only the device may have, and of this machine."""
        return {
            "train_rows": len(self._sets["train"].labels),
            "val_rows": len(self._sets["val"].labels),
            "test_rows": len(self._sets["test"].labels),
            "skipped": sum(s.skipped for s in (self._sets["train"], self._sets["test"])),
            "raw_bytes": self._sets["train"].raw_bytes,
            "mean": list(self._mean),
            "std": list(self._std),
            "classes": list(self._sets["train"].classes),
            "shape": self._shape(),
            "threads": torch.get_num_threads(),
        }

    def begin_epoch(self, epoch: int, decision: Decision) -> None:
        """Shuffle, and change to the level that the schedule decided on."""
        with self._working():
            order = batch_order(
                len(self._sets["train"].labels), self._train.batch_size, mix(self._train.seed, "order"), epoch
            )
        micro = self._train.batch_size // self._train.in_flight
        self._micros = [part for batch in order for part in batch.split(micro)]
        self._first = epoch * len(self._micros)
        self._next = self._first
        self._pending.clear()
        self._codec = Codec(decision.level, "up", self._cut.channel_dim)
        if decision.fresh_optimizer:
            self._optimizer.reset()
        if self._half.encoder is not None:
            self._half.encoder.train_logits(decision.level.channels is not None)
            if decision.reset_logits:
                generator = torch.Generator().manual_seed(mix(self._train.seed, "logits", epoch))
                self._half.encoder.reset_logits(generator)

    def exchange(self, down: bytes | None, forward: bool) -> list[bytes]:
        """Take the gradient of a pending micro-batch, if one is given, and bring up the next one, if asked.

        Returns the messages [activation, labels] of the next micro-batch, or []. The optimiser steps when
        the last gradient of a step has come.
        """
        with self._working():
            if down is not None:
                self._backward(down)
        return self._forward() if forward else []

    def evaluate(self, split: Literal["val", "test"], index: int) -> list[bytes]:
        """Return the messages [activation, labels] of batch `index` of a split, in eval mode."""
        with self._working(), torch.no_grad(), self._autocast():
            data, size = self._sets[split], self._train.batch_size
            rows = slice(index * size, (index + 1) * size)
            self._half.eval()
            z = self._half(self._images(data.images[rows], "none", 0))
        return self._send(z, data.labels[rows], index)

    def state(self) -> bytes:
        """Return everything that a checkpoint of this side holds, packed: it crosses the link."""
        return pack_state({"half": self._half.state_dict(), "optimizer": self._optimizer.state()})

    def restore(self, packed: bytes) -> None:
        """Go back to a state that `state` returned."""
        state = unpack_state(packed)
        self._half.load_state_dict(state["half"])
        self._optimizer.restore(state["optimizer"])

    def _shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self._sets["train"].images.shape
        return channels, height, width

    def _forward(self) -> list[bytes]:
        with self._working():
            number = self._next
            self._next += 1
            rows = self._micros[number - self._first]
            data = self._sets["train"]
            images = self._images(
                data.images[rows], self._config.data.augment, mix(self._train.seed, "augment", number)
            )
            self._half.train()
            with seeded(mix(self._train.seed, "device", number), self._torch_device), self._autocast():
                z = self._half(images)
            budget, encoder = self._codec.level.channels, self._half.encoder
            penalty = None if budget is None or encoder is None else encoder.penalty(budget)
            self._pending[number] = (z, penalty)
        return self._send(z, data.labels[rows], number)

    def _backward(self, down: bytes) -> None:
        message = parse(down)
        if message.batch not in self._pending:
            raise WireError(f"gradient for micro-batch {message.batch}, which is not under way")
        z, penalty = self._pending.pop(message.batch)
        message.expect(Kind.GRADIENT, message.batch, tuple(z.shape))
        # A half without trainable layers (a cut before the first of them) has nothing to learn.
        if z.requires_grad:
            roots, grads = [z], [extract(message).to(z)]
            if penalty is not None:
                roots.append(penalty / self._train.in_flight)
                grads.append(torch.ones_like(penalty))
            torch.autograd.backward(roots, grads)
        step, position = divmod(message.batch, self._train.in_flight)
        if position == self._train.in_flight - 1:
            self._optimizer.step(step)

    def _send(self, z: torch.Tensor, labels: torch.Tensor, number: int) -> list[bytes]:
        with self._working():
            encoder = self._half.encoder
            kept = None if encoder is None else encoder.keep(self._codec.level.channels)
            message = self._codec.compress(z, number, kept)
            label = pack_labels(labels, number, len(self._sets["train"].classes)).to_bytes()
        # The time of this message's own header is in the next one.
        message, self._busy = message.spent(self._busy), 0.0
        return [message.to_bytes(), label]

    def _images(self, images: torch.Tensor, augment: str, seed: int) -> torch.Tensor:
        x = prepare_batch(images, self._mean, self._std, augment, seed).to(self._torch_device)
        return x.to(memory_format=torch.channels_last) if self._train.channels_last else x

    def _autocast(self) -> torch.autocast:
        return autocast(self._torch_device, self._train.precision)

    @contextmanager
    def _working(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._busy += time.perf_counter() - start


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast context of a half: bfloat16, or off."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
