"""Decoding uploaded files, images or recordings, to what a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from raysplit.config import AudioConfig
from raysplit.data.audio import count_chunks, decode_audio
from raysplit.data.audio_file import UnknownFormat, read_header
from raysplit.data.inputs import InputFormat
from raysplit.data.schema import BadRow
from raysplit.errors import RequestError
from raysplit.serving.args import Limits
from raysplit.serving.http.images import Upload, check_image_count, decode_images, label_upload


class Inputs(NamedTuple):
    """Files as a model takes them."""

    images: np.ndarray
    """uint8 (B, C, H, W)."""
    chunks: tuple[int, ...]
    """How many of the images are of each file."""


def decode_inputs(files: Sequence[Upload], taken: InputFormat, limits: Limits) -> Inputs:
    """Return files as a model takes them, decoded as data sets are.

    The headers of all files are checked before any file is decoded. Raises RequestError as `decode_images`; alike for
    recordings: 413 for too many chunks or samples, 415 for a file that is no recording, 400 for a damaged one.
    """
    if taken.audio is None:
        return Inputs(decode_images(files, taken.shape, limits), (1,) * len(files))
    return _decode_recordings(files, taken.audio, limits)


def _decode_recordings(files: Sequence[Upload], audio: AudioConfig, limits: Limits) -> Inputs:
    check_image_count(len(files), limits)
    total = 0
    for index, file in enumerate(files):
        label = label_upload(index, file, "recording")
        try:
            header = read_header(file.data)
        except BadRow as err:
            raise RequestError(f"{label}: {err}", 415 if isinstance(err, UnknownFormat) else 400) from None
        if (samples := header.frames * header.channels) > limits.pixels:
            raise RequestError(
                f"{label} has {samples:,} samples, more than {limits.pixels:,} (limits.pixels); send a shorter one", 413
            )
        total += count_chunks(header, audio)
    if total > limits.images:
        raise RequestError(
            f"the recordings are cut into {total} chunks of {audio.seconds:g} s, at most {limits.images} are allowed "
            "(limits.images); send fewer or shorter ones",
            413,
        )
    decoded = []
    for index, file in enumerate(files):
        try:
            decoded.append(decode_audio(file.data, audio))
        except BadRow as err:
            label = label_upload(index, file, "recording")
            raise RequestError(f"{label}: {err}; send complete recordings") from None
    return Inputs(np.concatenate(decoded), tuple(map(len, decoded)))
