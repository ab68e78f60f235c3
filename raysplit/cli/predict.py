"""`raysplit predict`: image or audio files classified by an ensemble or by the network of a run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raysplit.cli.command import Verbs
from raysplit.errors import ConfigError
from raysplit.utils.text_table import percent

if TYPE_CHECKING:
    from torch import Tensor

_BATCH_SIZE = 64


@dataclass(frozen=True)
class FilePrediction:
    """The likeliest classes of a file, likeliest first, with their probabilities."""

    file: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return `{"file", "top": [{"class", "probability"}, …]}`."""
        pairs = zip(self.classes, self.probabilities, strict=True)
        return {"file": self.file, "top": [{"class": name, "probability": share} for name, share in pairs]}


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("predict", help="classify image or audio files with an ensemble or a run")
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of an ensemble, family or run, a path or URI")
    parser.add_argument("images", nargs="+", metavar="FILE", help="images of any size, or recordings of any length")
    parser.add_argument("--top", type=int, default=3, help="classes to name for each file, default 3")
    parser.add_argument("--missing", default="", metavar="1,4", help="sub-models to leave out, by number from 0")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the lines")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print a line for each file, or the JSON object."""
    if args.top < 1:
        raise ConfigError(f"--top must be at least 1, got {args.top}")
    predictions = predict_files(args.bundle, args.images, args.top, parse_numbers(args.missing))
    if args.json:
        print(json.dumps({"images": [one.to_json() for one in predictions]}, ensure_ascii=False))
    else:
        print(format_predictions(predictions))


def parse_numbers(text: str) -> list[int]:
    """Return the numbers of sub-models from their text; ConfigError for any other text.

    >>> parse_numbers("1, 4")
    [1, 4]
    """
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--missing '{text}' is not a list of sub-models; write their numbers, like 1,4")
    return [int(part) for part in parts]


def predict_files(location: str, files: Sequence[str], top: int, missing: Sequence[int]) -> list[FilePrediction]:
    """Return the `top` likeliest classes of each file, decoded as data sets are.

    `location` is that of an ensemble, a family or a run; a family answers at its loosest level, one message for each
    file, as it does when served. The probabilities of a recording are the mean over its chunks. Sub-models in `missing`
    are left out. Raises DataError for a file that is not of the kind that it was trained on, ConfigError for a
    sub-model that does not exist, BundleError as `load_ensemble` and `load_family`.
    """
    from raysplit.family.bundle import KINDS, find_family
    from raysplit.utils.bundle import read_kind

    if read_kind(find_family(location)) in KINDS:
        if missing:
            raise ConfigError(f"--missing: '{location}' has no sub-models; leave it out")
        classes, probabilities = _predict_with_family(location, files)
    else:
        classes, probabilities = _predict_with_ensemble(location, files, missing)
    best = probabilities.topk(min(top, len(classes)))
    return [
        FilePrediction(file, tuple(classes[i] for i in indices), tuple(values))
        for file, values, indices in zip(files, best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def _predict_with_family(location: str, files: Sequence[str]) -> tuple[tuple[str, ...], Tensor]:
    """Return the classes, and their probabilities for each file, (files, classes)."""
    import torch

    from raysplit.family import load_family, load_run

    family = load_family(location)
    network = load_run(location, family.levels[0].level)
    decoded = family.input.decode_files(files)
    answers = [network(images).softmax(1).mean(0) for images in decoded.images.split(list(decoded.chunks))]
    return family.manifest.classes, torch.stack(answers)


def _predict_with_ensemble(
    location: str, files: Sequence[str], missing: Sequence[int]
) -> tuple[tuple[str, ...], Tensor]:
    """Return the classes, and their probabilities for each file, (files, classes)."""
    import torch

    from raysplit.data.clips import average_chunks
    from raysplit.ensemble.bundle import load_ensemble

    ensemble = load_ensemble(location)
    count, classes = len(ensemble.manifest.submodels), ensemble.manifest.classes
    for index in missing:
        if not 0 <= index < count:
            raise ConfigError(f"--missing: '{location}' has no sub-model {index}; it has 0 to {count - 1}")
    if len(set(missing)) == count:
        raise ConfigError(f"--missing: all {count} sub-models of '{location}' are left out; keep at least one")
    decoded = ensemble.manifest.input.decode_files(files)
    answers = [ensemble.predict(batch, missing) for batch in decoded.images.split(_BATCH_SIZE)]
    return tuple(classes), average_chunks(torch.cat(answers), decoded.chunks)


def format_predictions(predictions: Sequence[FilePrediction]) -> str:
    """Return a line for each file: its name, class, probability, runners-up."""
    file_width = max(len(one.file) for one in predictions)
    class_width = max(len(one.classes[0]) for one in predictions)
    lines = []
    for one in predictions:
        (first, share), *others = zip(one.classes, one.probabilities, strict=True)
        runners_up = ", ".join(f"{name} {percent(probability)}" for name, probability in others)
        line = f"{one.file:<{file_width}}  {first:<{class_width}}  {percent(share):>6}  {runners_up}"
        lines.append(line.rstrip())
    return "\n".join(lines)
