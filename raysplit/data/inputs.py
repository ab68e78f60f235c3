"""What a trained network takes, and how files become it: one decoder for users, requests and devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from raysplit.config import AudioConfig
from raysplit.data.schema import BadRow, Pixels
from raysplit.errors import DataError


class DecodedFiles(NamedTuple):
    """Files as a network takes them."""

    images: torch.Tensor
    """uint8 (N, C, H, W)."""
    chunks: tuple[int, ...]
    """How many of the images are of each file."""


@dataclass(frozen=True)
class InputFormat:
    """The input of a network: images of a shape, which are pictures, or spectrograms where there is `audio`.

    >>> InputFormat((1, 64, 64), AudioConfig()).media
    'audio'
    """

    shape: tuple[int, int, int]
    """Channels, height and width."""
    audio: AudioConfig | None = None

    @property
    def media(self) -> Literal["image", "audio"]:
        """The kind of file that it is made from."""
        return "image" if self.audio is None else "audio"

    def decode(self, raw: object) -> Pixels:
        """Return a file, given as bytes or path, as uint8 images (K, C, H, W): one, or one for each chunk of sound.

        Raises BadRow for what is not such a file.
        """
        if self.audio is not None:
            from raysplit.data.audio import decode_audio

            return decode_audio(raw, self.audio)
        from raysplit.data.decode import decode  # imports Pillow, which sub-models need not

        return decode(raw, self.shape[1:], self.shape[0])[None]

    def decode_files(self, files: Sequence[str | Path]) -> DecodedFiles:
        """Return some files; DataError, which names the file, for one that is none of these."""
        decoded = []
        for file in files:
            try:
                decoded.append(self.decode(Path(file)))
            except BadRow as err:
                raise DataError(f"{file}: {err}; give {self.media} files") from None
        return DecodedFiles(torch.from_numpy(np.concatenate(decoded)), tuple(map(len, decoded)))
