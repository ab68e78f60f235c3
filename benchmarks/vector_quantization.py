"""Vector quantization of what crosses against rounding each value, on a network that was trained without either.

    python benchmarks/vector_quantization.py RUN_DIR [--data parquet:DIR] [--rows 2000] [--codewords 256]

The activations of a finished run of images (in fp32, all channels) are replaced before they enter the server half:

    rounded          each value to so many bits, at the batch's extremes or at those of each channel: raysplit's codec
    vectors of g     g neighboring channels of each position by the nearest of the codewords, which k-means found on
                     training images; a code of log2(codewords) bits each

Accuracy is that on validation images; bits per value are those of the codes behind zstd, codewords and ranges left out.
The last line is one JSON object, which is also benchmarks/results/vector_quantization.json.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable

import pyarrow as pa
import torch
from meta import meta, save
from torch import Tensor

from raysplit.compress.bitpack import pack
from raysplit.compress.quantizing_codec import QuantizingCodec
from raysplit.config import Level
from raysplit.data.images import load
from raysplit.family import load_family
from raysplit.family.export import DeviceProgram, ServerProgram

Quantize = Callable[[Tensor], tuple[Tensor, int]]
"""(B, C, H, W) activations to what the server half gets in their place, and the bytes that crossed."""
ROUNDED = ("all·b4/b4·zstd", "all·b2/b2·zstd", "all·b2/b2·ch·zstd", "all·b1/b1·ch·zstd")
GROUPS = (2, 4, 8, 16)
"""Channels of a vector."""
BATCH = 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN_DIR")
    parser.add_argument("--data", help="the run's data set, where it lies elsewhere now")
    parser.add_argument("--rows", type=int, default=2000, help="images of each split")
    parser.add_argument("--codewords", type=int, default=256)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    family = load_family(args.run)
    level = family.levels[-1].level
    device, server = DeviceProgram(family, level), ServerProgram(family, level, None)
    data = family.config.data if args.data is None else family.config.data.replaced(name=args.data)
    codes, labels = {}, {}
    for split in ("train", "val"):
        images = load(data, split)
        codes[split], labels[split] = _encode(device, images.images[: args.rows]), images.labels[: args.rows]
    rows = []
    for name, quantize in _quantizers(codes["train"], args.codewords).items():
        row = {"name": name} | _measure(quantize, server, codes["val"], labels["val"])
        print(
            f"{name:40} {row['bits']:6.3f} bits   {row['accuracy']:5.1f} %   {row['error']:.3f} of the energy",
            flush=True,
        )
        rows.append(row)
    save("vector_quantization", {"meta": meta([0]), "rows": rows})
    print(json.dumps({"rows": rows}))


def _encode(device: DeviceProgram, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([device(part) for part in images.split(BATCH)])


def _measure(quantize: Quantize, server: ServerProgram, codes: Tensor, labels: Tensor) -> dict[str, float]:
    """Return accuracy in percent, bits per value and the squared error as a share of the codes' own squares."""
    right, size, error = 0, 0, 0.0
    with torch.inference_mode():
        for part, truth in zip(codes.split(BATCH), labels.split(BATCH), strict=True):
            got, crossed = quantize(part)
            right += int((server(got).argmax(1) == truth).sum())
            size += crossed
            error += float((got - part).square().sum())
    return {
        "accuracy": 100 * right / len(labels),
        "bits": 8 * size / codes.numel(),
        "error": error / float(codes.square().sum()),
    }


def _quantizers(codes: Tensor, codewords: int) -> dict[str, Quantize]:
    """Return each way to cross by its name; `codes` are of training images."""
    found: dict[str, Quantize] = {"fp32": lambda x: (x, 4 * x.numel())}
    found |= {f"rounded, {level}": _rounding(Level(level)) for level in ROUNDED}
    for group in GROUPS:
        found[f"vectors of {group}, {codewords} codewords"] = _vectors(codes, group, codewords)
    return found


def _rounding(level: Level) -> Quantize:
    codec = QuantizingCodec(level, "up")

    def quantize(x: Tensor) -> tuple[Tensor, int]:
        message = codec.compress(x, seed=None)
        return codec.extract(message), len(message.body)

    return quantize


def _vectors(codes: Tensor, group: int, codewords: int) -> Quantize:
    """Each group of channels has codewords of its own."""
    books = [_k_means(_as_vectors(part), codewords) for part in codes.split(group, dim=1)]
    bits = math.ceil(math.log2(codewords))

    def quantize(x: Tensor) -> tuple[Tensor, int]:
        got, picks = [], []
        for part, book in zip(x.split(group, dim=1), books, strict=True):
            nearest = torch.cdist(_as_vectors(part), book).argmin(1)
            picks.append(nearest)
            shape = (len(x), *part.shape[2:], part.shape[1])
            got.append(book[nearest].reshape(shape).movedim(-1, 1))
        packed = pack(torch.cat(picks).to(torch.uint8).numpy(), bits)
        crossed = pa.Codec("zstd", compression_level=1).compress(packed, asbytes=True)
        return torch.cat(got, 1).contiguous(), min(len(packed), len(crossed))

    return quantize


def _as_vectors(x: Tensor) -> Tensor:
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def _k_means(vectors: Tensor, count: int, rounds: int = 15, sample: int = 40_000) -> Tensor:
    """Return the codewords of Lloyd's algorithm from vectors drawn at random; an empty one begins anew."""
    vectors = vectors[torch.randperm(len(vectors))[:sample]]
    book = vectors[:count].clone()
    for _ in range(rounds):
        nearest = torch.cdist(vectors, book).argmin(1)
        sums = torch.zeros_like(book).index_add_(0, nearest, vectors)
        counts = nearest.bincount(minlength=count).unsqueeze(1)
        fresh = vectors[torch.randint(len(vectors), (count,))]
        book = torch.where(counts > 0, sums / counts.clamp(min=1), fresh)
    return book


if __name__ == "__main__":
    main()
