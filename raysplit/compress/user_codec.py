"""A user's own codec, and the choice of the codec that a config asks for."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from raysplit.compress.codec import KINDS, Codec, Direction, Estimate
from raysplit.compress.quantizing_codec import QuantizingCodec
from raysplit.config import CodecSource, Level
from raysplit.errors import CodecError, RaysplitError, WireError
from raysplit.utils.user_code import ObjectRecord, UserClass, create
from raysplit.wire.message import Message


def build_codec(source: CodecSource, level: Level, direction: Direction, channel_dim: int = 1) -> Codec:
    """Return the codec of a config (`SplitConfig.codec`) for one level and direction.

    Raises ConfigError for a user's class that cannot be loaded or constructed, CodecError for one that lacks a method.

    >>> build_codec(None, Level("c4.b4/b4"), "up").bits
    4
    """
    if source is None:
        return QuantizingCodec(level, direction, channel_dim)
    if isinstance(source, ObjectRecord):
        raise source.lost("codec")
    if isinstance(source, UserClass):
        return UserCodec(source.create(level, direction, channel_dim), direction, source.target)
    name = getattr(source, "__name__", type(source).__name__)
    return UserCodec(create(source, f"codec {name}", level, direction, channel_dim), direction, name)


class UserCodec:
    """Passes every call on to a user's codec and checks the result.

    Raises CodecError for a result that no codec may return and for what the codec raises, and WireError for a message
    that it cannot read.

    >>> import torch
    >>> codec = UserCodec(QuantizingCodec(Level("all.b4/b4"), "up"), "up", "mine.py:Mine")
    >>> codec.compress(torch.ones(2, 3), batch=7).batch
    7
    """

    def __init__(self, codec: Codec, direction: Direction, name: str):
        self._codec, self._direction, self._name = codec, direction, name
        missing = [name for name in ("compress", "extract", "estimate") if not callable(getattr(codec, name, None))]
        if missing:
            raise CodecError(f"codec {name} has no method {', '.join(missing)}")

    def compress(
        self,
        tensor: Tensor,
        batch: int = 0,
        channels: Sequence[int] | None = None,
        seed: int | None = 0,
        mask: Tensor | None = None,
    ) -> Message:
        """Return the user's message."""
        try:
            message = self._codec.compress(tensor.detach(), batch, channels, seed, mask)
        except RaysplitError:
            raise
        except Exception as err:
            raise self._raised("compress", err) from err
        if not isinstance(message, Message):
            raise self._fault("compress", "a raysplit.wire.message.Message", type(message).__name__)
        wanted = KINDS[self._direction].name, batch, tuple(tensor.shape), tensor.dtype
        found = message.kind.name, message.batch, tuple(message.shape), message.dtype
        for what, want, got in zip(("kind", "batch", "shape", "dtype"), wanted, found, strict=True):
            if want != got:
                raise self._fault("compress", f"a message of {what} {want}", str(got))
        return message

    def extract(self, message: Message, mask: Tensor | None = None) -> Tensor:
        """Return what the user's codec makes of a message."""
        try:
            tensor = self._codec.extract(message, mask)
        except RaysplitError:
            raise
        except Exception as err:
            reason = " ".join(str(err).split())
            raise WireError(
                f"codec {self._name} cannot extract {message.kind.name} {message.batch} of {len(message.body)} bytes: "
                f"{type(err).__name__}: {reason}"
            ) from err
        if not isinstance(tensor, Tensor):
            raise self._fault("extract", "a tensor", type(tensor).__name__)
        if tuple(tensor.shape) != tuple(message.shape) or tensor.dtype != message.dtype:
            raise self._fault(
                "extract", f"{message.dtype} of shape {message.shape}", f"{tensor.dtype} of shape {tuple(tensor.shape)}"
            )
        return tensor

    def estimate(self, shape: Sequence[int]) -> Estimate:
        """Return the user's estimate."""
        try:
            estimate = self._codec.estimate(shape)
        except RaysplitError:
            raise
        except Exception as err:
            raise self._raised("estimate", err) from err
        if not isinstance(estimate, Estimate):
            raise self._fault("estimate", "a raysplit.compress.Estimate", type(estimate).__name__)
        return estimate

    def _raised(self, method: str, err: Exception) -> CodecError:
        reason = " ".join(str(err).split())
        return CodecError(f"codec {self._name}: {method} raised {type(err).__name__}: {reason}")

    def _fault(self, method: str, expected: str, found: str) -> CodecError:
        return CodecError(f"codec {self._name}: {method} must return {expected}, it returned {found}")
