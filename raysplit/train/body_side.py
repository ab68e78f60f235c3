"""The server side of a run with a second cut: a body between two parts on the device, which has labels and loss."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch

from raysplit.config import FreezeAndCache, Level, SplitConfig
from raysplit.errors import CodecError, DivergenceError, WireError
from raysplit.schedules.base import Decision
from raysplit.split import Cut
from raysplit.torch_utils.layout import arrange_like
from raysplit.torch_utils.seeds import mix, seeded
from raysplit.train.codecs import Codecs
from raysplit.train.device import device_seed
from raysplit.train.divergence import require_finite_step
from raysplit.train.fleet import Fleet
from raysplit.train.halves import BuiltServer
from raysplit.train.server_side import Received, ServerSide
from raysplit.train.tail import level_back
from raysplit.wire.message import Kind, Message


@dataclass(frozen=True)
class _UnderWay:
    """A forward pass that waits for its gradient."""

    z: torch.Tensor
    features: torch.Tensor
    micros: Sequence[Received]


class BodySide(ServerSide):
    """A server half that ends at a second cut; arguments as of `ServerSide`."""

    def __init__(
        self, config: SplitConfig, built: BuiltServer, back: Cut, classes: int, epoch_steps: int, device: int = 0
    ):
        super().__init__(config, built, classes, epoch_steps, device)
        self._back_codecs = Codecs(config.codec, back.channel_dim)
        self._under_way: dict[int, _UnderWay] = {}

    def begin_epoch(self, decision: Decision) -> None:
        """Change to the level and the learning-rate schedule that were decided on."""
        super().begin_epoch(decision)
        self._under_way.clear()

    def forward(self, number: int, micros: Sequence[Received]) -> list[Message]:
        """Return the features message for each of some micro-batches, which are joined."""
        codes = [self._receive_code(one.number, one.level, one.activation) for one in micros]
        z = (codes[0] if len(codes) == 1 else torch.cat(codes)).requires_grad_()
        self._half.train()
        with (
            self._locating(number),
            seeded(mix(self._seed, "server", number), self._torch_device),
            self._autocast(),
        ):
            features: torch.Tensor = self._half(z)
        self._under_way[number] = _UnderWay(z, features, micros)
        with self._locating(number):
            parts = features.detach().split([len(code) for code in codes])
            return [
                self._compress_features(
                    part, one.number, one.level, mix(device_seed(self._config.seed, one.device), "features", one.number)
                )
                for part, one in zip(parts, micros, strict=True)
            ]

    def backward(self, number: int, gradients: Sequence[Message]) -> list[Message]:
        """Take the gradient message of each device's features; return that of each device's code.

        The loss is the mean over all samples of the micro-batches that were joined, and each device sends the gradient
        of the mean over its own. As in `train_step`, what it gets back is of that mean too.
        """
        if number not in self._under_way:
            raise WireError(f"gradient for micro-batch {number}, which is not under way")
        found = self._under_way.pop(number)
        total = len(found.z)
        with self._locating(number):
            grads = []
            for message, one in zip(gradients, found.micros, strict=True):
                rows = one.activation.shape[0]
                message.expect(Kind.GRADIENT, one.number, (rows, *found.features.shape[1:]))
                grad = self._back_codecs.at(level_back(one.level), "down").extract(message).to(self._torch_device)
                grads.append(grad if rows == total else grad * (rows / total))
            grad = grads[0] if len(grads) == 1 else torch.cat(grads)
            torch.autograd.backward(found.features, arrange_like(grad, found.features))
            step, position = divmod(number, self._config.in_flight)
            if position == self._config.in_flight - 1:
                self._optimizer.step(step)
                require_finite_step(self._half, self._optimizer, "server")
            return self._share_gradient(found.z, found.micros)

    @torch.no_grad()
    def features(self, index: int, level: Level, activation: Message) -> Message:
        """Return the features message for a device's evaluation batch `index`, in eval mode."""
        z = self._receive_code(index, level, activation)
        return self._compress_features(self._evaluate(index, level, z), index, level, None)

    def _compress_features(self, features: torch.Tensor, number: int, level: Level, seed: int | None) -> Message:
        try:
            return self._back_codecs.at(level_back(level), "up").compress(features, number, None, seed)
        except CodecError:
            if features.isfinite().all():
                raise
            raise DivergenceError("the activation at the second cut is NaN or infinite") from None


def make_server_sides(config: SplitConfig, built: BuiltServer, fleet: Fleet) -> list[ServerSide]:
    """Return the server half of a run; with `splitfed_v1` one for each device, all of which start equal."""
    classes, mode = len(fleet.facts.classes), config.devices.mode

    def make(built: BuiltServer, steps: int, device: int = 0) -> ServerSide:
        if built.back is None:
            return ServerSide(config, built, classes, steps, device)
        return BodySide(config, built, built.back, classes, steps, device)

    if mode != "splitfed_v1":
        # An epoch on cached codes has as many steps as all devices together.
        caches = isinstance(config.schedule, FreezeAndCache) or config.device_rests
        return [make(built, fleet.longest if mode == "merged" and not caches else fleet.steps)]
    return [make(replace(built, half=deepcopy(built.half)), member.steps, member.index) for member in fleet.members]
