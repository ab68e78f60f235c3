"""What zstd leaves on the table: bits per value of real codes, by coder, beside their empirical entropy.

    python benchmarks/entropy.py [--data mnist5k] [--epochs 4] [--rows 2000] [--messages 20] [--levels LEVEL …]

Half-width VGG-11, cut after the second conv block, trained at each level; then the last messages of either direction
are coded again:

    packed          the codes as they cross without an entropy stage
    zstd 1, 9       over the packed codes; level 1 is what crosses at a level with zstd
    zstd 1, bytes   over one code a byte
    entropy         of the codes of a message, one distribution for all
    by channel      one distribution for each channel
    by neighbor     each code given the one before it in its row of the grid
    before          coded by the distributions of each channel in the message before: nothing need be sent for them
    range coder     constriction's, by channel, with 8-bit frequencies in the message; if that package is installed

The last line is one JSON object, which is also benchmarks/results/entropy.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from meta import meta, save

from raysplit.compress.bitpack import Codes, pack, packed_size, unpack
from raysplit.config import BottleneckConfig, DataConfig, Fixed, Level, ModelConfig, SplitConfig, TrainConfig
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from raysplit.train.server_side import Received
from raysplit.wire.message import Message

LEVELS = ("all·b4/b4", "all·b4/b4·ch", "all·b2/b2·ch", "c8·b4/b4", "c8·b2/b2·ch")
_FREQUENCIES = 256
"""Frequencies of a channel's codes sum to this where they are part of a message: a byte for each code."""
Counts = npt.NDArray[np.float64]
"""How often each code occurs."""
Coder = Callable[[Codes, Codes, int], float]
"""Bits of the codes of a message, given those of the message before: both of shape (N, channels, values), and bits."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist5k")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--messages", type=int, default=20, help="of either direction, from the end of training")
    parser.add_argument("--levels", nargs="+", default=LEVELS, metavar="LEVEL")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for level in args.levels:
        up, down = train(recipe(args.data, args.rows, args.epochs, level), args.messages)
        rows += [measure(level, direction, sent) for direction, sent in (("up", up), ("down", down))]
        print(_text(rows[-2:]), flush=True)
    save("entropy", {"meta": meta([0]), "rows": rows})
    print(json.dumps({"rows": rows}))


def recipe(data: str, rows: int, epochs: int, level: str) -> SplitConfig:
    """Return the config of a run at one level, without an entropy stage."""
    return SplitConfig(
        name="entropy",
        data=DataConfig(name=data, train_rows=rows, augment="crop"),
        model=ModelConfig(name="vgg11", args={"width": 0.5, "dropout": 0.0}),
        cut="features.7",
        bottleneck=BottleneckConfig(start="identity", order="fixed"),
        schedule=Fixed(level=Level(level)),
        train=TrainConfig(epochs=epochs, batch_size=50, lr=0.02, device="cpu"),
    )


def train(config: SplitConfig, count: int) -> tuple[list[Message], list[Message]]:
    """Train, and return the last `count` messages of training in either direction."""
    up: list[Message] = []
    down: list[Message] = []
    loop = Loop(config, LocalDevice(config))
    step = loop._server.train_step

    def watch(number: int, micros: Sequence[Received]) -> Any:
        answers = step(number, micros)
        up.extend(micro.activation for micro in micros)
        down.extend(gradient for gradient, _ in answers)
        del up[:-count], down[:-count]
        return answers

    loop._server.train_step = watch  # type: ignore[method-assign]
    print(f"{config.schedule.levels()[0]}: validation {list(loop.epochs())[-1].val_accuracy:.1%}")
    return up, down


def measure(level: str, direction: str, messages: Sequence[Message]) -> dict[str, Any]:
    """Return the mean bits per value of the messages' codes by each coder, without headers and ranges."""
    codes, bits = [read_codes(message) for message in messages], messages[0].bits
    row: dict[str, Any] = {"level": level, "direction": direction, "values": int(codes[0].size)}
    for name, coder in coders().items():
        start = time.perf_counter()
        sizes = [coder(now, before, bits) / now.size for before, now in pairwise(codes)]
        seconds = time.perf_counter() - start
        row[name] = {"bits": float(np.mean(sizes)), "mvalues_per_s": len(sizes) * codes[0].size / seconds / 1e6}
    return row


def read_codes(message: Message) -> Codes:
    """Return the codes of a message of at most 8 bits without an entropy stage, shape (samples, channels, values)."""
    shape = message.sent_shape
    ranges = shape[message.channel_dim] if message.per_channel else 1
    count = math.prod(shape)
    body = memoryview(message.body)[8 * ranges :]
    assert len(body) == packed_size(count, message.bits) and not message.zstd
    return unpack(body, count, message.bits).reshape(shape[0], shape[1], -1)


def coders() -> dict[str, Coder]:
    """Return every coder by its name."""
    found: dict[str, Coder] = {
        "packed": lambda now, before, bits: 8 * packed_size(now.size, bits),
        "zstd 1": lambda now, before, bits: _zstd(pack(now.reshape(-1), bits), 1),
        "zstd 9": lambda now, before, bits: _zstd(pack(now.reshape(-1), bits), 9),
        "zstd 1, bytes": lambda now, before, bits: _zstd(now.tobytes(), 1),
        "entropy": lambda now, before, bits: _bits(_count(now.reshape(-1), bits)),
        "by channel": lambda now, before, bits: sum(_bits(counts) for counts in _count_channels(now, bits)),
        "by neighbor": lambda now, before, bits: _bits_by_neighbor(now, bits),
        "before": _bits_by_the_message_before,
    }
    try:
        import constriction
    except ImportError:
        return found

    def code(now: Codes, before: Codes, bits: int) -> float:
        """A byte for each code of each channel, then the range coder's words."""
        total = 0
        for channel, counts in enumerate(_count_channels(now, bits)):
            frequencies = np.maximum(np.round(counts * (_FREQUENCIES / counts.sum())), counts > 0)
            encoder = constriction.stream.queue.RangeEncoder()
            model = constriction.stream.model.Categorical(frequencies / frequencies.sum(), perfect=False)
            encoder.encode(now[:, channel].reshape(-1).astype(np.int32), model)
            total += 8 * (1 << bits) + 32 * len(encoder.get_compressed())
        return total

    return found | {"range coder": code}


def _zstd(data: bytes, level: int) -> float:
    return 8 * len(pa.Codec("zstd", compression_level=level).compress(data, asbytes=True))


def _count(codes: Codes | npt.NDArray[np.int64], bits: int) -> Counts:
    return np.bincount(codes, minlength=1 << bits).astype(np.float64)


def _count_channels(codes: Codes, bits: int) -> list[Counts]:
    return [_count(codes[:, channel].reshape(-1), bits) for channel in range(codes.shape[1])]


def _bits(counts: Counts) -> float:
    """Return the bits of codes that occur `counts` times, by their own distribution."""
    some = counts[counts > 0]
    return float((some * np.log2(some.sum() / some)).sum())


def _bits_by_neighbor(codes: Codes, bits: int) -> float:
    """Return the bits of each code given the one before it in the same channel; the first ones by themselves."""
    first, rest = (
        codes[..., 0].reshape(-1),
        codes[..., 1:].astype(np.int64) + (codes[..., :-1].astype(np.int64) << bits),
    )
    pairs: list[Counts] = list(_count(rest.reshape(-1), 2 * bits).reshape(1 << bits, -1))
    return _bits(_count(first, bits)) + sum(_bits(counts) for counts in pairs)


def _bits_by_the_message_before(now: Codes, before: Codes, bits: int) -> float:
    """Return the bits of the codes by the distributions of the message before; each code counts half a time more."""
    total = 0.0
    for counts, known in zip(_count_channels(now, bits), _count_channels(before, bits), strict=True):
        chance = (known + 0.5) / (known.sum() + 0.5 * len(known))
        total -= float((counts * np.log2(chance)).sum())
    return total


def _text(rows: Sequence[dict[str, Any]]) -> str:
    names = [name for name in rows[0] if isinstance(rows[0][name], dict)]
    lines = [f"{'':16}" + "".join(f"{name:>15}" for name in names)]
    for row in rows:
        lines.append(f"{row['level']} {row['direction']}".ljust(16) + "".join(f"{row[n]['bits']:15.3f}" for n in names))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
