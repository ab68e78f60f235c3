"""The server halves of a prune family: a message with activations in, probabilities out."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from raysplit.compress.codec import extract
from raysplit.compress.message import Kind, parse
from raysplit.errors import BundleError, RequestError, WireError
from raysplit.family import Family

LEVEL_HEADER, FAMILY_HEADER = "X-Raysplit-Level", "X-Raysplit-Family"
"""A level as it prints, plain dots for middle ones (`c4.b4/b4.zstd`), and the id of the family that a device has."""


@dataclass(frozen=True)
class Decided:
    """What a server half makes of a message."""

    level: str
    probabilities: torch.Tensor
    """float32 (B, classes)."""
    seconds: float


class Halves:
    """Every level of one family; a level's half is loaded when it is asked for first."""

    def __init__(self, family: Family, most_images: int):
        self.family, self._most = family, most_images
        self._halves: dict[str, torch.nn.Module] = {}

    def decide(self, body: bytes, level: str | None, family_id: str | None) -> Decided:
        """Return what the half at a level makes of an activation message, computed as the family was trained.

        Raises RequestError: 409 for a device of another family, 404 for a level that it has not, 413 for too many
        images, 400 for bytes that are no message of this cut.
        """
        start = time.perf_counter()
        if family_id != self.family.id:
            raise RequestError(
                f"the device has family {(family_id or 'none')[:12]!r}, the server {self.family.id[:12]!r}; give both "
                f"the same bundle, and name it in the header {FAMILY_HEADER}",
                409,
            )
        if level is None:
            raise RequestError(f"name the level in the header {LEVEL_HEADER}")
        name, half = self._half(level)
        z = self._activation(body)
        low = self.family.config.train.precision == "bf16"
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            logits = half(z)
        return Decided(name, logits.float().softmax(1), time.perf_counter() - start)

    def _activation(self, body: bytes) -> torch.Tensor:
        about = self.family.about
        try:
            message = parse(body)
            if message.shape[1:] != about.code_shape or message.kind is not Kind.ACTIVATION:
                raise WireError(
                    f"expected an ACTIVATION of shape (images, {', '.join(map(str, about.code_shape))}), got "
                    f"{message.kind.name} of shape {message.shape}"
                )
            if not 0 < message.shape[0] <= self._most:
                raise RequestError(f"{message.shape[0]} images; send 1 to {self._most} (limits.images)", 413)
            if not message.dtype.is_floating_point:
                raise WireError(f"activations are floats, not {message.dtype}")
            z = extract(message)
        except WireError as err:
            raise RequestError(f"not a message of this family: {err}") from None
        if self.family.config.train.channels_last and z.ndim == 4:
            z = z.to(memory_format=torch.channels_last)
        return z

    def _half(self, level: str) -> tuple[str, torch.nn.Module]:
        name = level.replace(".", "·")
        try:
            if name not in self._halves:
                self._halves[name] = self.family.server(name)
        except BundleError as err:
            raise RequestError(str(err), 404) from None
        return name, self._halves[name]
