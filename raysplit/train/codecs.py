"""The codecs of a run: one for each level and direction, built when it is first needed."""

from __future__ import annotations

from raysplit.compress.codec import Codec, Direction
from raysplit.compress.user_codec import build_codec
from raysplit.config import CodecSource, Level


class Codecs:
    """Builds the codec that a config asks for, once for each level and direction; raises what `build_codec` raises.

    >>> codecs = Codecs(None, channel_dim=1)
    >>> codecs.at(Level("c4.b4/b8"), "down").bits
    8
    """

    def __init__(self, source: CodecSource, channel_dim: int):
        self._source, self._channel_dim = source, channel_dim
        self._built: dict[tuple[Level, Direction], Codec] = {}

    def at(self, level: Level, direction: Direction) -> Codec:
        """Return the codec of a level for one direction."""
        key = level, direction
        if key not in self._built:
            self._built[key] = build_codec(self._source, level, direction, self._channel_dim)
        return self._built[key]
