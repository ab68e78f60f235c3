"""Build the halves of a run from its config alone: the same weights on every machine, and only one half's memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from raysplit.compress.bottleneck import Decoder, Encoder, code_shape
from raysplit.config import SplitConfig
from raysplit.models import StartWeights, build, read_start_weights
from raysplit.split import Cut, SplitModel, list_cuts, split_at
from raysplit.torch_utils.deferred_init import DeferredInit, held_tensors
from raysplit.torch_utils.freezing import match_parameters
from raysplit.torch_utils.seeds import mix, seeded
from raysplit.train.graphs import trace_built
from raysplit.train.half_modules import DeviceHalf, ServerHalf, Tail
from raysplit.train.local_head import LocalHead
from raysplit.train.network_check import require_levels, require_logits, require_trainable, require_training

_log = logging.getLogger(__name__)
_CPU = torch.device("cpu")
Shape = tuple[int, int, int]
"""Channels, height and width of the images."""
Built = TypeVar("Built", "BuiltDevice", "BuiltServer")


@dataclass(frozen=True)
class BuiltDevice:
    """What a device of a run holds."""

    cut: Cut
    code_shape: tuple[int, ...]
    """Shape of what crosses, without the batch dimension."""
    half: DeviceHalf
    head: LocalHead | None
    """The classifier of the device's local loss, where the recipe has one."""
    weights: str | None
    """sha256 of the weights that the network starts from; None: they are random."""
    tail: Tail | None = None
    """The layers after the second cut, where there is one."""
    back: Cut | None = None
    """The second cut."""


@dataclass(frozen=True)
class BuiltServer:
    """What the server of a run holds."""

    cut: Cut
    code_shape: tuple[int, ...]
    """Shape of what crosses, without the batch dimension."""
    half: ServerHalf
    weights: str | None
    """sha256 of the weights that the network starts from; None: they are random."""
    back: Cut | None = None
    """The second cut, where the half ends there."""


@dataclass(frozen=True)
class BuiltHalves:
    """Both halves of a run, built together."""

    cut: Cut
    code_shape: tuple[int, ...]
    """Shape of what crosses, without the batch dimension."""
    device: DeviceHalf
    server: ServerHalf
    head: LocalHead | None
    """The classifier of the device's local loss, where the recipe has one."""
    tail: Tail | None = None
    """The layers after the second cut, on the device, where there is one."""
    back: Cut | None = None
    """The second cut."""


def takes_head(config: SplitConfig) -> bool:
    """Return whether the server of a run takes over the head of its device."""
    return config.train.local_loss is not None and bool(getattr(config.schedule, "hands_over", False))


def build_device_half(config: SplitConfig, classes: int, shape: Shape, *, init_weights: bool = True) -> BuiltDevice:
    """Build the device half for images of `shape` (C, H, W), with the weights that the config starts from.

    Unless `model.weights` or `model.pretrained` is set, they are those that the run's seed gives. They are those of
    `build_halves`, to the bit, but no memory is allocated for the server's. A model of one's own that does not allow
    that is built in full first, which is logged. Without `init_weights`, parameters and buffers of the state dict stay
    on the meta device, for `load_state_dict(..., assign=True)`, and no weights file is read.

    Raises what `raysplit.models.read_start_weights` raises, ModelError, CutError, or ConfigError for a level that keeps
    more channels, or more values of a sample, than cross, and for a pattern of `train.freeze` that matches nothing.

    >>> from raysplit import recipes
    >>> from raysplit.config import ModelConfig
    >>> small = ModelConfig(name="vgg5", args={"width": 0.5})
    >>> config = recipes.get("mnist5k_vgg11_prune").replaced(model=small, cut="features.3")
    >>> built = build_device_half(config, classes=10, shape=(1, 28, 28))
    >>> built.cut.shape, built.code_shape
    ((32, 14, 14), (32, 14, 14))
    """
    return _build_alone(config, classes, shape, _Draft.device, init_weights)


def build_server_half(config: SplitConfig, classes: int, shape: Shape, *, init_weights: bool = True) -> BuiltServer:
    """Build the server half, as `build_device_half` builds the device's; raises the same.

    With `init_weights`, for training, raises ModelError also where a step on one micro-batch would fail, and
    ConfigError where all is frozen.

    >>> from raysplit import recipes
    >>> from raysplit.config import ModelConfig
    >>> small = ModelConfig(name="vgg5", args={"width": 0.5})
    >>> config = recipes.get("mnist5k_vgg11_prune").replaced(model=small, cut="features.3")
    >>> built = build_server_half(config, classes=10, shape=(1, 28, 28))
    >>> built.half.eval()(torch.zeros(1, *built.code_shape)).shape
    torch.Size([1, 10])
    """
    return _build_alone(config, classes, shape, _Draft.checked_server if init_weights else _Draft.server, init_weights)


def build_halves(config: SplitConfig, classes: int, shape: Shape) -> BuiltHalves:
    """Build both halves; raises what `build_device_half` and `build_server_half` raise.

    >>> from raysplit import recipes
    >>> from raysplit.config import ModelConfig
    >>> small = ModelConfig(name="vgg5", args={"width": 0.5})
    >>> config = recipes.get("mnist5k_vgg11_prune").replaced(model=small, cut="features.3")
    >>> built = build_halves(config, classes=10, shape=(1, 28, 28))
    >>> built.server.eval()(built.device.eval()(torch.zeros(1, 1, 28, 28))).shape
    torch.Size([1, 10])
    """
    draft = _draft(config, classes, shape, nullcontext(), start=True)
    device, server = draft.device(), draft.checked_server()
    draft.load_start(device)
    draft.load_start(server)
    if draft.start is not None:
        draft.start.log()
    return BuiltHalves(device.cut, device.code_shape, device.half, server.half, device.head, device.tail, device.back)


@dataclass(frozen=True)
class _Draft:
    """The parts of both halves, with or without values."""

    config: SplitConfig
    classes: int
    shape: Shape
    split: SplitModel
    code_shape: tuple[int, ...]
    encoder: Encoder | None
    decoder: Decoder | None
    start: StartWeights | None
    frozen: frozenset[str]
    """Names of the network's parameters that `train.freeze` matches."""

    def load_start(self, built: BuiltDevice | BuiltServer) -> None:
        """Give a half the values that the network starts from."""
        if self.start is not None:
            for part in _parts(built):
                self.start.load_into(part.body)

    def device(self) -> BuiltDevice:
        half = DeviceHalf(self.split.device, self.encoder)
        if self.config.train.device_half == "frozen":
            half.freeze_all(half.body)
        half.freeze(half.body, self.frozen)
        tail = None if self.split.tail is None else Tail(self.split.tail)
        if tail is not None:
            tail.freeze(tail.body, self.frozen)
        return BuiltDevice(self.split.cut, self.code_shape, half, self._head(), self._hash(), tail, self.split.back)

    def server(self) -> BuiltServer:
        half = ServerHalf(self.decoder, self.split.server, self._head() if takes_head(self.config) else None)
        half.freeze(half.body, self.frozen)
        return BuiltServer(self.split.cut, self.code_shape, half, self._hash(), self.split.back)

    def _hash(self) -> str | None:
        return None if self.start is None else self.start.sha256

    def checked_server(self) -> BuiltServer:
        device, server = self.device(), self.server()
        own: nn.Module = device.half
        rest: nn.Module = server.half
        if device.tail is not None:
            own, rest = nn.ModuleList([device.half, device.tail]), nn.Sequential(server.half, device.tail)
        require_training(own, server.half, self.config.train)
        require_trainable(device.half, rest, device.head, self.config, self.shape, self.classes)
        return server

    def _head(self) -> LocalHead | None:
        train = self.config.train
        if train.local_loss is None:
            return None
        with seeded(mix(train.seed, "head"), _CPU):
            return LocalHead(train.local_loss, self.code_shape, self.split.cut.channel_dim, self.classes)


def _draft(
    config: SplitConfig, classes: int, shape: Shape, context: AbstractContextManager[object], start: bool
) -> _Draft:
    """Build the model and the bottleneck, in this order under the run's seed, within `context`.

    With `start`, the weights that the config starts from are read and checked.
    """
    with seeded(mix(config.train.seed, "init"), _CPU):
        with context:
            model = build(config.model, classes, shape)
        traced = trace_built(model, config.model, classes, shape)
        require_logits(traced, classes)
        split = split_at(list_cuts(traced), config.cut, config.cut_back)
        cut, box = split.cut, config.bottleneck
        with context:
            encoder = None if box is None else Encoder(box, cut.shape, cut.channel_dim)
            decoder = None if box is None else Decoder(box, cut.shape, cut.channel_dim)
    crossing = code_shape(box, cut.shape, cut.channel_dim)
    require_levels(config, cut, crossing)
    weights = read_start_weights(config.model, model, classes, shape) if start else None
    frozen = match_parameters(model, config.train.freeze, "train.freeze")
    return _Draft(config, classes, shape, split, crossing, encoder, decoder, weights, frozen)


def _build_alone(
    config: SplitConfig, classes: int, shape: Shape, take: Callable[[_Draft], Built], init_weights: bool
) -> Built:
    """Build the half that `take` returns, without memory for the other one."""
    if config.model.module is not None:  # a module in memory has its values already
        return _take(_draft(config, classes, shape, nullcontext(), init_weights), take)
    deferred = DeferredInit(mix(config.train.seed, "init"))
    try:
        draft = _draft(config, classes, shape, deferred, init_weights)
        split, start, built = draft.split, draft.start, take(draft)
        del draft  # and what neither half holds
        own = _parts(built)
        bodies = [part.body for part in own]
        others = [part for part in (split.device, split.server, split.tail) if part is not None and part not in bodies]
        _materialize(deferred, own, others, init_weights)
        if start is not None:
            for body in bodies:
                start.load_into(body)
            if isinstance(built, BuiltServer):
                start.log()
        return built
    except Exception as err:  # of a user's code too: a fault is raised again below
        reason = f"{type(err).__name__}: {' '.join(str(err).split())}"
    with suppress(Exception):
        deferred.release()
    built = _take(_draft(config, classes, shape, nullcontext(), init_weights), take)
    _log.info("model %s is built in full before one half is dropped: %s", config.model.name, reason)
    return built


def _take(draft: _Draft, take: Callable[[_Draft], Built]) -> Built:
    built = take(draft)
    draft.load_start(built)
    return built


def _parts(built: BuiltDevice | BuiltServer) -> list[DeviceHalf | ServerHalf | Tail]:
    """Return the parts of the network that a side holds."""
    tail = built.tail if isinstance(built, BuiltDevice) else None
    return [built.half] if tail is None else [built.half, tail]


def _materialize(
    deferred: DeferredInit, parts: Sequence[nn.Module], others: Sequence[nn.Module], init_weights: bool
) -> None:
    """Give `parts` their values, and `others` only those that both hold."""
    own = _storages(tensor for part in parts for tensor in held_tensors(part))
    held = [tensor for other in others for tensor in held_tensors(other)]
    leave = [tensor for tensor in held if tensor.untyped_storage()._cdata not in own]
    assigned = [] if init_weights else [t for part in parts for t in part.state_dict(keep_vars=True).values()]
    deferred.materialize([*parts, *others], leave=[*leave, *assigned])


def _storages(tensors: Iterable[torch.Tensor]) -> set[int]:
    return {tensor.untyped_storage()._cdata for tensor in tensors}
