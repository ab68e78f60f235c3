"""Sub-models of ViT-Base: exact sizes, operations and latency; and the fast score against the exact one.

    python benchmarks/ensemble_geometry.py [--data NAME] [--rounds N] [--proxy N]

Weights of ViT-Base are random: sizes, operations and time do not depend on them. Scores are compared on a ViT of 12
heads that is trained briefly on --data. Writes benchmarks/results/ensemble_geometry.json; prints tables, then one
JSON object.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
import warnings
from typing import Any, Literal

import torch
import torch._inductor.config
from meta import meta, save
from torch import Tensor

from raysplit.config import (
    BaseConfig,
    ClassifierFit,
    DataConfig,
    EnsembleConfig,
    GroupsConfig,
    ModelConfig,
    Precision,
    PruneConfig,
)
from raysplit.ensemble.base_classifier import load_base, train_base
from raysplit.ensemble.context import open_build
from raysplit.ensemble.cost import measure_cost, measure_latencies
from raysplit.ensemble.forward import compute_outputs
from raysplit.ensemble.importance import score_units
from raysplit.ensemble.prunable.base import PrunableNetwork, prunable_network
from raysplit.ensemble.samples import Samples, draw_rows
from raysplit.ensemble.trainer import ClassifierTrainer, Objective
from raysplit.ensemble.weights_file import pack, set_precision, unpack
from raysplit.models import build

SHAPE = (3, 224, 224)
K = 2
"""Of 12 heads."""
OWN = (0, 1, 2, 3, 4)
"""Classes of the sub-models whose scores are compared; all others are its rest class."""
TRAIN = ClassifierFit(epochs=8, batch_size=32, optimizer="muon", warmup=0.15, label_smoothing=0.1, device="cpu")
RETRAIN = TRAIN.replaced(epochs=24)
"""Three times as long as the base: after its eight epochs sub-models are still 20 points short of what they reach."""
SEEDS = tuple(range(6))
"""Of retraining."""
Kind = Literal["fast", "exact", "random"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist5k", help="that the scored ViT learns; default mnist5k")
    parser.add_argument("--rounds", type=int, default=40, help="of each latency, the models taking turns")
    parser.add_argument("--proxy", type=int, default=32, help="images that units are scored on")
    args = parser.parse_args()
    torch.set_num_threads(1)
    geometry = sizes()
    print(_sizes_text(geometry))
    latency = times(args.rounds)
    print(_times_text(latency))
    with tempfile.TemporaryDirectory() as place:
        scores = compared(scored_base(args.data), args.proxy, place)
    print(_scores_text(scores))
    result = {"geometry": geometry, "latency": latency, "scores": scores}
    about = meta(list(SEEDS)) | {
        "model": f"timm vit_base_patch16_224, 1000 classes, against k={K} of 12 heads with 2 outputs, random weights",
        "scored": f"{scored_base(args.data).base.model.args} on {args.data}, {args.proxy} images of classes {OWN}",
        "notes": "int8 is stored as int8 with a scale for each row and computes in bf16. Ratios are of the full model "
        "in fp32, of sizes with 10 classes, to the row. retrained: test accuracy over the own classes and the rest, of "
        "each seed; retrained_at: after fast scores, stored at each precision.",
    }
    save("ensemble_geometry", {"meta": about, **result})
    print(json.dumps(result))


def sizes() -> list[dict[str, Any]]:
    """Return parameters, GMAC and file of ViT-Base and of its sub-model, at each precision.

    Ratios are of ViT-Base in fp32 with a head for ten classes, as the papers' data sets have.
    """
    full, small = pair()
    ten = build(ModelConfig(name="vit_base_patch16_224"), 10, SHAPE)
    whole = measure_cost(ten, SHAPE, "fp32")
    rows = []
    for name, model in (("full, 1000 classes", full), ("full, 10 classes", ten), ("sub-model", small)):
        for precision in PRECISIONS:
            found = measure_cost(model, SHAPE, precision)
            rows.append(
                {
                    "model": name,
                    "precision": precision,
                    "params": found.params,
                    "gmac": found.gmac,
                    "mib": found.mib,
                    "gmac_ratio": whole.gmac / found.gmac,
                    "mib_ratio": whole.mib / found.mib,
                }
            )
    return rows


def pair() -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return ViT-Base and what k=2 of 12 leaves of it, for two outputs, in eval mode, randomly initialised."""
    full = build(ModelConfig(name="vit_base_patch16_224"), 1000, SHAPE)
    small = build(prunable_network(full, SHAPE).geometry(K), 2, SHAPE)
    return full.eval(), small.eval()


def times(rounds: int) -> list[dict[str, Any]]:
    """Return milliseconds for one image on one thread, all measured in turns, and the pairs' ratios.

    Compiled: by torch.compile, with its kernels tuned and the weights frozen. Scripted: by TorchScript, frozen and
    optimized for inference; in fp32 alone, as in bf16 it is slower than what is compiled.
    """
    plain = [*pair(), *(model.bfloat16() for model in pair())]
    compiled: list[Any] = [torch.compile(copy.deepcopy(model), dynamic=False) for model in plain]
    with torch._inductor.config.patch(freezing=True, max_autotune=True):
        models = [*plain, *compiled, *(scripted(model) for model in plain[:2])]
        found = [1e3 * seconds for seconds in measure_latencies(models, SHAPE, rounds)]
    full, small, full16, small16, cfull, csmall, cfull16, csmall16, sfull, ssmall = found
    pairs = (
        ("fp32 sub-model against fp32 full", small, full),
        ("bf16 sub-model against fp32 full", small16, full),
        ("bf16 sub-model against bf16 full (like for like)", small16, full16),
        ("compiled fp32 sub-model against fp32 full", csmall, full),
        ("scripted fp32 sub-model against fp32 full", ssmall, full),
        ("compiled bf16 sub-model against fp32 full", csmall16, full),
        ("fp32, both compiled (like for like)", csmall, cfull),
        ("fp32, both scripted (like for like)", ssmall, sfull),
        ("bf16, both compiled (like for like)", csmall16, cfull16),
    )
    return [
        {"pair": name, "ms_full": ours, "ms_submodel": part, "ratio": ours / part, "rounds": rounds}
        for name, part, ours in pairs
    ]


def scripted(model: torch.nn.Module) -> torch.nn.Module:
    """Return a model as a frozen TorchScript for one image, its operators fused into those of oneDNN."""
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its deprecation, and that shapes are those of the image traced
        trace: Any = torch.jit.trace
        frozen = torch.jit.freeze(trace(copy.deepcopy(model), torch.zeros(1, *SHAPE)))
        return torch.jit.optimize_for_inference(frozen)


def scored_base(data: str) -> EnsembleConfig:
    """Return the config of a ViT of 12 heads that learns for minutes."""
    return EnsembleConfig(
        name="scored",
        data=DataConfig(name=data, val_fraction=0.04, augment="crop"),
        base=BaseConfig(
            model=ModelConfig(
                name="vit", args={"patch": 4, "width": 192, "depth": 4, "heads": 12, "patch_drop_rate": 0.5}
            ),
            train=TRAIN,
        ),
        groups=GroupsConfig(n=1),
        prune=PruneConfig(keep=1.0),
    )


def compared(config: EnsembleConfig, proxy: int, place: str) -> dict[str, Any]:
    """Train the base in a folder and return seconds, rank correlations and accuracy after retraining of each score."""
    context = open_build(config, place)
    train_base(context, print)
    network = prunable_network(load_base(context), context.data.shape)
    train, test = context.load_samples("train"), context.load_samples("test")
    own = torch.isin(train.targets, torch.tensor(OWN)).nonzero().flatten()[:proxy]
    x = train.batch(own)
    found: dict[Kind, dict[str, Tensor]] = {}
    seconds: dict[Kind, float] = {}
    kinds: tuple[Kind, ...] = ("fast", "exact", "random")
    for kind in kinds:
        begin = time.perf_counter()
        found[kind] = score_units(kind, network, x, 0)
        seconds[kind] = time.perf_counter() - begin
    kept = {kind: network.select_units(scores, K) for kind, scores in found.items()}
    trained_again = {kind: [retrained(network, kept[kind], train, test, seed) for seed in SEEDS] for kind in kinds}
    return {
        "seconds": seconds,
        "times_faster": seconds["exact"] / seconds["fast"],
        "units": sum(network.units().values()),
        "spearman": by_kind(found["fast"], found["exact"]),
        "spearman_random": by_kind(found["random"], found["exact"]),
        "base_accuracy": _accuracy(compute_outputs(network.model, test).predictions, test.targets),
        "kept_alike": {kind: share_alike(kept[kind], kept["exact"]) for kind in kinds},
        "retrained": {kind: [accuracies["fp32"] for accuracies in results] for kind, results in trained_again.items()},
        "retrained_at": {
            precision: [accuracies[precision] for accuracies in trained_again["fast"]] for precision in PRECISIONS
        },
    }


def by_kind(scores: dict[str, Tensor], reference: dict[str, Tensor]) -> dict[str, float]:
    """Return Spearman's rank correlation by kind of group (width, attn, ffn): the mean over blocks; and the least."""
    kinds: dict[str, list[float]] = {}
    for group, values in scores.items():
        kinds.setdefault(group.rpartition(".")[2], []).append(spearman(values, reference[group]))
    return {kind: statistics.mean(found) for kind, found in kinds.items()} | {
        "least": min(min(found) for found in kinds.values())
    }


def spearman(a: Tensor, b: Tensor) -> float:
    """Return Spearman's rank correlation of two scores (N,) without ties."""
    ranks = torch.stack([values.argsort().argsort().double() for values in (a, b)])
    return torch.corrcoef(ranks)[0, 1].item()


def share_alike(kept: dict[str, Tensor], reference: dict[str, Tensor]) -> float:
    """Return the share of the units a reference keeps that are kept here too."""
    alike = sum(int(torch.isin(units, kept[group]).sum()) for group, units in reference.items())
    return alike / sum(len(units) for units in reference.values())


def retrained(
    network: PrunableNetwork, kept: dict[str, Tensor], train: Samples, test: Samples, seed: int
) -> dict[Precision, float]:
    """Return the test accuracy of a sub-model of some units trained again, stored at each precision.

    It is that over its own classes and the rest, in percent; it learns from all training images, as many of the rest as
    of its own.
    """
    classes = int(train.targets.max()) + 1
    model = network.shrink(kept, K, OWN, rest=True)
    drawn = draw_rows(train.targets, OWN, classes, True, len(train), seed)
    samples = Samples(train.images[drawn.rows], drawn.targets, train.mean, train.std)
    objective, settings = Objective(model, RETRAIN.label_smoothing), RETRAIN.replaced(seed=seed)
    for _ in ClassifierTrainer(objective, samples, settings, "crop").epochs():
        pass
    label_of = torch.zeros(classes, dtype=torch.int64)
    label_of[list(OWN)] = torch.arange(1, len(OWN) + 1)
    weights, accuracies = {name: value.clone() for name, value in model.state_dict().items()}, {}
    for precision in PRECISIONS:
        model.load_state_dict(unpack(pack(weights, precision), precision))
        predictions = compute_outputs(set_precision(model, precision), test).predictions
        accuracies[precision] = _accuracy(predictions, label_of[test.targets])
        model.float()
    return accuracies


def _accuracy(predictions: Tensor, targets: Tensor) -> float:
    return 100 * (predictions == targets).float().mean().item()


def _sizes_text(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'':20}{'':6}{'parameters':>14}{'GMAC':>12}{'less':>8}{'MiB':>11}{'less':>8}"]
    for row in rows:
        lines.append(
            f"{row['model']:20}{row['precision']:6}{row['params']:14,}{row['gmac']:12.5f}{row['gmac_ratio']:7.1f}×"
            f"{row['mib']:11.3f}{row['mib_ratio']:7.1f}×"
        )
    return "\n".join(lines)


def _times_text(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'latency, one image, one thread':52}{'full ms':>10}{'ms':>10}{'less':>8}"]
    lines += [f"{row['pair']:52}{row['ms_full']:10.2f}{row['ms_submodel']:10.2f}{row['ratio']:7.1f}×" for row in rows]
    return "\n".join(lines)


def _scores_text(scores: dict[str, Any]) -> str:
    seconds, names, retrained = scores["seconds"], ("width", "attn", "ffn", "least"), scores["retrained"]
    lines = [
        f"{'score':10}{'seconds':>10}" + "".join(f"{name:>9}" for name in names) + f"{'alike':>9}{'retrained':>16}"
        f"   Spearman with exact; {scores['units']} units, base {scores['base_accuracy']:.1f} %"
    ]
    for kind, key in (("exact", None), ("fast", "spearman"), ("random", "spearman_random")):
        ranks = "".join(f"{1.0 if key is None else scores[key][name]:9.3f}" for name in names)
        lines.append(
            f"{kind:10}{seconds[kind]:10.2f}{ranks}{scores['kept_alike'][kind]:9.3f}{_with_error(retrained[kind]):>16}"
        )
    gain = [fast - exact for fast, exact in zip(retrained["fast"], retrained["exact"], strict=True)]
    lines.append(f"retrained, mean and its standard error; fast less exact, seed by seed: {_with_error(gain)}")
    stored = ", ".join(f"{name} {statistics.mean(found):.2f} %" for name, found in scores["retrained_at"].items())
    lines.append(f"retrained after fast scores, stored as {stored}")
    return "\n".join([*lines, f"fast is {scores['times_faster']:.0f} times faster than exact"])


def _with_error(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values) / len(values) ** 0.5:.2f}"


if __name__ == "__main__":
    main()
