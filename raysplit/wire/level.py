"""Levels: how much crosses the cut."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from raysplit.utils.frozen import Frozen

Bits = Literal[1, 2, 3, 4, 5, 6, 7, 8, 16, 32]
_LEVEL = re.compile(
    r"(?:c(?P<channels>\d+)|all)(?:[·.]k(?P<top>\d+)(?:r(?P<random>\d+))?)?"
    r"[·.]b(?P<up>\d+)/b(?P<down>\d+)(?P<ch>[·.]ch)?(?P<ef>[·.]ef)?"
    r"(?:[·.]n(?P<noise>\d+))?(?:[·.](?P<entropy>zstd))?"
)


class Level(Frozen):
    """How much crosses the cut: channels kept, values kept, bits per value in each direction, noise, entropy stage.

    Prints as `SELECT[·kN[rP]]·bU/bD[·ch][·ef][·nP][·zstd]`: `c4·b4/b4·zstd` (4 channels, 4 bits up, 4 bits down,
    zstd), `all·k32r10·b32/b32` (32 values of each sample, 10 % of the picks random), `c8·b2/b4·ch·ef` (own
    extremes for each channel, error feedback), `all·b8/b8·n50` (noise of half the values' deviation). It is read
    back from the same text (a plain dot may stand for the middle dot).
    """

    channels: Annotated[int, Field(ge=1)] | None = None
    """Channels kept at the cut (the budget B); None keeps all."""
    top: Annotated[int, Field(ge=1)] | None = None
    """Values kept of each sample, the largest by magnitude among the channels kept; None keeps all."""
    top_random: Annotated[int, Field(ge=0, le=99)] = 0
    """Percent: the chance of each of the `top` picks to fall outside the largest, in training only."""
    up_bits: Bits = 32
    """Bits per activation value, device to server."""
    down_bits: Bits = 32
    """Bits per gradient value, server to device."""
    per_channel: bool = False
    """Each channel has its own extremes; for directions of at most 8 bits."""
    feedback: bool = False
    """What rounding takes from a gradient is added to the next one (error feedback)."""
    noise: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Percent: standard deviation of Gaussian noise that the device adds to each activation before it is compressed, of
    that of the values sent; in training, evaluation and inference."""
    entropy: Literal["none", "zstd"] = "none"

    def __init__(self, text: str | None = None, /, **fields: Any):
        """Read a level from its text, or take its fields by name.

        >>> Level("c4.b4/b4.zstd") == Level(channels=4, up_bits=4, down_bits=4, entropy="zstd")
        True
        """
        super().__init__(**(fields if text is None else _fields(text)))

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return _fields(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _parts_fit(self) -> Level:
        if self.top_random and self.top is None:
            raise ValueError(f"top_random={self.top_random} is a share of the picks of top-k: set top too")
        if self.per_channel and self.top is not None:
            raise ValueError("per_channel does not go with top: a channel may have no value left to range over")
        if self.per_channel and min(self.up_bits, self.down_bits) > 8:
            raise ValueError(
                f"per_channel is for 8 bits and below, this level has {self.up_bits} up and {self.down_bits} down"
            )
        # At 1 bit the error is as large as the range, so that what is carried forward grows from step to step.
        if self.feedback and self.down_bits in (1, 32):
            why = "nothing is lost at 32 bits" if self.down_bits == 32 else "it diverges at 1 bit"
            raise ValueError(f"feedback needs gradients of 2 to 16 bits, this level has {self.down_bits}: {why}")
        return self

    @model_serializer(mode="wrap")
    def _without_noise(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Write a level without noise as files have always held it."""
        written: dict[str, object] = write(self)
        return {key: value for key, value in written.items() if key != "noise" or value}

    def __str__(self) -> str:
        channels = "all" if self.channels is None else f"c{self.channels}"
        top = "" if self.top is None else f"·k{self.top}" + (f"r{self.top_random}" if self.top_random else "")
        ch, ef = "·ch" if self.per_channel else "", "·ef" if self.feedback else ""
        noise = f"·n{self.noise}" if self.noise else ""
        zstd = "·zstd" if self.entropy == "zstd" else ""
        return f"{channels}{top}·b{self.up_bits}/b{self.down_bits}{ch}{ef}{noise}{zstd}"


UNCOMPRESSED = Level()
DEFAULT_LEVEL = Level(up_bits=4, down_bits=4, entropy="zstd")
"""The level that `raysplit profile` prices: four bits cost no accuracy here, fewer channels do."""


def _fields(text: str) -> dict[str, Any]:
    """Return the fields of a level from its text; ValueError for any other text."""
    found = _LEVEL.fullmatch(text.strip())
    if not found:
        raise ValueError(f"'{text}' is not a level; write it like c4.b4/b4.zstd or all.b32/b32")
    return {
        "channels": int(found["channels"]) if found["channels"] else None,
        "top": int(found["top"]) if found["top"] else None,
        "top_random": int(found["random"] or 0),
        "up_bits": int(found["up"]),
        "down_bits": int(found["down"]),
        "per_channel": found["ch"] is not None,
        "feedback": found["ef"] is not None,
        "noise": int(found["noise"] or 0),
        "entropy": found["entropy"] or "none",
    }
