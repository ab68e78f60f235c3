"""The server halves of a prune family: a message with activations in, probabilities out."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from raysplit.compress.quantizing_codec import QuantizingCodec
from raysplit.config import Level
from raysplit.errors import ModelError, RequestError, WireError, nearest
from raysplit.family.bundle import Family
from raysplit.serving.args import Limits
from raysplit.torch_utils.compute import autocast, pick_device
from raysplit.wire.message import Kind, Message, parse
from raysplit.wire.split_api import FAMILY_HEADER, LEVEL_HEADER


@dataclass(frozen=True)
class ServerPrediction:
    """What a server half makes of a message."""

    level: str
    probabilities: torch.Tensor
    """float32 (B, classes), on the CPU."""
    seconds: float


class ServerHalves:
    """The server half of every level of one family, on CUDA where there is one.

    Raises BundleError for a family without the weights of its server halves, ModelError for one that answers with no
    number.
    """

    def __init__(self, family: Family, limits: Limits):
        self.family, self._limits = family, limits
        self._train, self._about = family.config.train, family.about
        self._device = pick_device("auto")
        self._codecs = {entry.level: family.codec(entry.level) for entry in family.levels}
        self._halves = {level: family.server(level).to(self._device) for level in self._codecs}
        if self._train.channels_last:
            for half in self._halves.values():
                half.to(memory_format=torch.channels_last)
        self.check_health()

    def check_health(self) -> None:
        """Answer at every level for an image of nothing; ModelError where that is not a number."""
        for level in self._halves:
            if not self._probabilities(level, torch.zeros(1, *self._about.code_shape)).isfinite().all():
                raise ModelError(f"level {level} of family {self.family.id[:12]} answers with no number")

    def decide(self, body: bytes, level: str | None, family_id: str | None) -> ServerPrediction:
        """Return what the half at a level makes of an activation message, computed as the family was trained.

        Messages are held against the family and the level before anything is allocated for what they say that they
        hold. Raises RequestError: 409 for a device of another family, 404 for a level that it has not, 413 for too
        many images or bytes, 400 for bytes that are no message of this level.
        """
        start = time.perf_counter()
        if family_id != self.family.id:
            raise RequestError(
                f"the device has family {(family_id or 'none')[:64]!r}, the server {self.family.id!r}; give both "
                f"the same bundle, and name its id in the header {FAMILY_HEADER}",
                409,
            )
        name = self._named(level)
        try:
            message = parse(body)
            self._check(message, name)
            z = self._codecs[name].extract(message)
        except WireError as err:
            raise RequestError(f"not a message of this family: {err}") from None
        probabilities = self._probabilities(name, z)
        if not probabilities.isfinite().all():
            raise RequestError("the message holds values that no device half of this family gives: not finite, or huge")
        return ServerPrediction(name, probabilities, time.perf_counter() - start)

    def _named(self, level: str | None) -> str:
        if level is None:
            raise RequestError(f"name the level in the header {LEVEL_HEADER}")
        name = level.replace(".", "·")
        if name not in self._codecs:
            raise RequestError(f"there is no level {level[:80]!r} here. {nearest(name[:80], self._codecs)}", 404)
        return name

    def _check(self, message: Message, name: str) -> None:
        """Refuse what no device half of this family sends at a level."""
        about, level, codec = self._about, self.family.level(name), self._codecs[name]
        if message.kind is not Kind.ACTIVATION or message.shape[1:] != about.code_shape:
            raise WireError(
                f"expected an ACTIVATION of shape (images, {', '.join(map(str, about.code_shape))}), got "
                f"{message.kind.name} of shape {message.shape}"
            )
        if not 0 < message.shape[0] <= self._limits.images:
            raise RequestError(f"{message.shape[0]} images; send 1 to {self._limits.images} (limits.images)", 413)
        if codec.estimate(message.shape).bytes > self._limits.body_mib * 2**20:
            raise RequestError(
                f"{message.shape[0]} images are more than {self._limits.body_mib:g} MiB at level {level} "
                "(limits.body_mib), as sent or decompressed; send fewer",
                413,
            )
        dtypes = [torch.float32] + [torch.bfloat16] * (self._train.precision == "bf16")
        if message.dtype not in dtypes:
            raise WireError(f"activations are {' or '.join(map(str, dtypes))} here, not {message.dtype}")
        if isinstance(codec, QuantizingCodec):
            self._check_layout(message, level, codec.bits)

    def _check_layout(self, message: Message, level: Level, bits: int) -> None:
        about = self._about
        channels = about.code_shape[about.channel_dim - 1]
        budget = level.channels if level.channels is not None and level.channels < channels else None
        wanted = (bits, budget, level.top, level.per_channel and bits <= 8, about.channel_dim)
        kept = None if message.channels is None else len(message.channels)
        if (
            wanted != (message.bits, kept, message.top, message.per_channel, message.channel_dim)
            or message.positions_known
        ):
            raise WireError(
                f"it has {message.bits} bits a value, {'all' if kept is None else kept} channels and "
                f"{'all' if message.top is None else message.top} values of each image, or a layout, that are not "
                f"those of level {level}"
            )
        if message.zstd and level.entropy == "none":
            raise WireError(f"it is compressed with zstd, which level {level} is not")

    def _probabilities(self, level: str, z: torch.Tensor) -> torch.Tensor:
        z = z.to(self._device)
        if self._train.channels_last and z.ndim == 4:
            z = z.to(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(self._device, self._train.precision):
            logits = self._halves[level](z)
        return logits.float().softmax(1).cpu()
