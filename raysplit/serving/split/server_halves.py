"""The server halves of a family: from a message of activations to probabilities."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from raysplit.compress.quantizing_codec import QuantizingCodec
from raysplit.config import Level
from raysplit.data.clips import average_chunks
from raysplit.errors import ModelError, RequestError, WireError, nearest
from raysplit.family.bundle import Family
from raysplit.serving.args import Limits
from raysplit.torch_utils.compute import autocast, pick_device
from raysplit.wire.message import Kind, Message, parse
from raysplit.wire.split_api import CHUNKS_HEADER, FAMILY_HEADER, LEVEL_HEADER, level_from_header


@dataclass(frozen=True)
class ServerPrediction:
    """What a server half predicts for the images or recordings of a message."""

    level: str
    probabilities: torch.Tensor
    """float32 (B, classes), on the CPU; of recordings, the mean over the chunks of each."""
    compute_s: float


class ServerHalves:
    """The server half of every level of a family, on CUDA if available, for one thread.

    Raises BundleError for a family without the weights of its server halves, ModelError for one whose probabilities
    are not finite.
    """

    def __init__(self, family: Family, limits: Limits):
        self.family, self._limits = family, limits
        self._train, self._manifest = family.config.train, family.manifest
        self._device = pick_device("auto")
        self._codecs = {entry.level: family.codec(entry.level) for entry in family.levels}
        self._halves = family.server_levels(self._device)
        self.check_health()

    def check_health(self) -> None:
        """Compute the probabilities of a blank image at every level; ModelError if they are not finite."""
        for level in self._halves.names:
            if not self._forward(level, torch.zeros(1, *self._manifest.code_shape)).isfinite().all():
                raise ModelError(
                    f"level {level} of family {self.family.id[:12]} computes probabilities that are not finite"
                )

    def predict(
        self, body: bytes, level: str | None, family_id: str | None, chunks: str | None = None
    ) -> ServerPrediction:
        """Return what the half at a level predicts for a message of activations, computed as in training.

        The message's header is checked against the family and the level before memory is allocated for its content.
        `level`, `family_id` and `chunks` are the HTTP headers `LEVEL_HEADER`, `FAMILY_HEADER` and `CHUNKS_HEADER`.

        Raises RequestError: 409 for a device with another family, 404 for an unknown level, 413 for too many images
        or bytes, 400 for anything that is not a message of this level.
        """
        start = time.perf_counter()
        if family_id != self.family.id:
            raise RequestError(
                f"the device has family {(family_id or 'none')[:64]!r}, the server {self.family.id!r}; use the same "
                f"bundle on both, and send its id in the header {FAMILY_HEADER}",
                409,
            )
        name = self._find_level(level)
        try:
            message = parse(body)
            self._check_message(message, name)
            counts = _read_chunks(chunks, message.shape[0])
            z = self._codecs[name].extract(message)
        except WireError as err:
            raise RequestError(f"not a message of this family: {err}") from None
        probabilities = self._forward(name, z)
        if not probabilities.isfinite().all():
            raise RequestError(
                "the message holds activations that no device half of this family computes: not finite, or huge"
            )
        return ServerPrediction(name, average_chunks(probabilities, counts), time.perf_counter() - start)

    def _find_level(self, header: str | None) -> str:
        if header is None:
            raise RequestError(f"the level is missing; send it in the header {LEVEL_HEADER}")
        level = level_from_header(header)
        if level not in self._codecs:
            raise RequestError(
                f"the family has no level {header[:80]!r}. {nearest(level[:80], self._codecs)}",
                404,
            )
        return level

    def _check_message(self, message: Message, name: str) -> None:
        """Refuse a message that no device half of this family sends at a level."""
        manifest, level, codec = self._manifest, self.family.level(name), self._codecs[name]
        if message.kind is not Kind.ACTIVATION or message.shape[1:] != manifest.code_shape:
            raise WireError(
                f"expected an ACTIVATION of shape (images, {', '.join(map(str, manifest.code_shape))}), got "
                f"{message.kind.name} of shape {message.shape}"
            )
        if not 0 < message.shape[0] <= self._limits.images:
            raise RequestError(
                f"the message has {message.shape[0]} images; send 1 to {self._limits.images} (limits.images)", 413
            )
        if codec.estimate(message.shape).bytes > self._limits.body_bytes:
            raise RequestError(
                f"{message.shape[0]} images are more than {self._limits.body_mib:g} MiB at level {level} "
                "(limits.body_mib), as sent or decompressed; send fewer",
                413,
            )
        dtypes = [torch.float32] + [torch.bfloat16] * (self._train.precision == "bf16")
        if message.dtype not in dtypes:
            raise WireError(f"activations must be {' or '.join(map(str, dtypes))}, not {message.dtype}")
        if isinstance(codec, QuantizingCodec):
            self._check_layout(message, level, codec.bits)

    def _check_layout(self, message: Message, level: Level, bits: int) -> None:
        """Refuse a message whose values are not laid out as the built-in codec does at a level."""
        manifest = self._manifest
        channels = manifest.code_shape[manifest.channel_dim - 1]
        kept_channels = level.channels if level.channels is not None and level.channels < channels else None
        per_channel = level.per_channel and bits <= 8
        expected = (bits, kept_channels, level.top, per_channel, manifest.channel_dim)
        sent_channels = None if message.channels is None else len(message.channels)
        sent = (message.bits, sent_channels, message.top, message.per_channel, message.channel_dim)
        if sent != expected or message.positions_known:
            raise WireError(
                f"it has {message.bits} bits per value, {'all' if sent_channels is None else sent_channels} channels "
                f"and {'all' if message.top is None else message.top} values per image, or a layout, that level "
                f"{level} does not have"
            )
        if message.zstd and level.entropy == "none":
            raise WireError(f"it is compressed with zstd, which level {level} does not use")

    def _forward(self, level: str, z: torch.Tensor) -> torch.Tensor:
        z = z.to(self._device)
        if self._train.channels_last and z.ndim == 4:
            z = z.to(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(self._device, self._train.precision):
            logits: torch.Tensor = self._halves.at(level)(z)
        return logits.float().softmax(1).cpu()


def _read_chunks(header: str | None, samples: int) -> list[int]:
    """Return how many of a message's samples are of each recording; each is one of its own without the header."""
    if header is None:
        return [1] * samples
    parts = header[: 8 * samples].split(",")
    counts = [int(part) if part.isascii() and part.isdigit() and len(part) < 8 else 0 for part in parts]
    if min(counts) < 1 or sum(counts) != samples:
        raise RequestError(
            f"{CHUNKS_HEADER} {header[:80]!r} does not divide the {samples} samples of the message; list how many are "
            "of each recording, like 3,1"
        )
    return counts
