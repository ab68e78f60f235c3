"""Where known networks can be cut, and whether a training step across the cut equals an unsplit one.

    python benchmarks/architectures.py [NAME ...]

Networks of torchvision and timm with random weights, at their usual input, 1,000 classes. At three cuts, a quarter, a
half and three quarters down the list: one step of SGD with the activation and the gradient as fp32 messages, against
the same step unsplit, all weights and buffers compared. Rows that the result has already are kept: run it again to go
on, name a network to make its row anew. It writes the table into docs/architectures.md.

The last line is one JSON object: how many networks there are, can be cut, and are identical at all three cuts.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from typing import Any

import torch
from meta import RESULTS, ROOT, meta, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from raysplit.compress import QuantizingCodec, extract
from raysplit.config import UNCOMPRESSED, ModelConfig
from raysplit.errors import RaysplitError
from raysplit.models import build
from raysplit.split import find_cuts
from raysplit.split.cuts import ModelCuts
from raysplit.split.halves import split_at
from raysplit.torch_utils.layout import arrange_like
from raysplit.wire.message import parse

CLASSES, BATCH, SEED, THREADS = 1000, 2, 0, 1
PAGE = ROOT / "docs" / "architectures.md"
SIZES = {"inception_v3": 299, "mobilevit_s": 256}
"""Height and width of the usual input, where it is not 224."""
ARGS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}
TORCHVISION = (
    *("alexnet", "vgg16", "resnet18", "resnet50", "googlenet", "inception_v3", "densenet121", "mobilenet_v2"),
    *("mobilenet_v3_small", "shufflenet_v2_x1_0", "squeezenet1_1", "mnasnet1_0", "efficientnet_b0"),
    *("regnet_y_400mf", "convnext_tiny", "swin_t", "vit_b_16"),
)
TIMM = (
    *("vit_tiny_patch16_224", "mixer_s32_224", "resmlp_12_224", "mobilevit_s", "ghostnet_100", "repvgg_a0"),
    *("poolformer_s12", "pvt_v2_b0"),
)
NAMES = (*TORCHVISION, *TIMM)


def measure(name: str) -> dict[str, Any]:
    """Return a network's row."""
    library, size = ("timm" if name in TIMM else "torchvision"), SIZES.get(name, 224)
    shape = (3, size, size)
    row: dict[str, Any] = {"library": library, "input": f"3x{size}x{size}", "args": ARGS.get(name, {})}

    def make() -> nn.Module:
        torch.manual_seed(SEED)
        return build(ModelConfig(name=f"{library}:{name}", args=ARGS.get(name, {})), CLASSES, shape)

    start = time.perf_counter()
    try:
        cuts = find_cuts(make(), shape)
        torch.manual_seed(SEED)
        images, labels = torch.randn(BATCH, *shape), torch.randint(CLASSES, (BATCH,))
        whole = make().train()
        step(whole, lambda: loss_of(whole, images, labels).backward())
        chosen = {cuts[len(cuts) * quarter // 4].name for quarter in (1, 2, 3)}
        row["cuts"] = [cut.name for cut in cuts]
        row["steps"] = {
            cut.name: compare(whole, split_step(find_cuts(make(), shape), cut.name, images, labels))
            for cut in cuts
            if cut.name in chosen
        }
    except RaysplitError as err:
        row["error"] = str(err)
    return row | {"seconds": time.perf_counter() - start}


def split_step(cuts: ModelCuts, name: str, images: Tensor, labels: Tensor) -> nn.Module:
    """Train a network for one step in its two halves; return it."""
    model = cuts.traced.model.train()
    halves = split_at(cuts, name)

    def train() -> None:
        z = halves.device.train()(images)
        received = send(z.detach(), "up").requires_grad_()
        loss_of(halves.server.train(), received, labels).backward()
        assert received.grad is not None
        z.backward(arrange_like(send(received.grad, "down"), z))

    step(model, train)
    return model


def step(model: nn.Module, backward: Callable[[], object]) -> None:
    torch.manual_seed(SEED + 1)  # of dropout
    backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()


def loss_of(net: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(net(x), labels)


def send(x: Tensor, direction: Any) -> Tensor:
    """Return what the other side gets of a tensor: fp32, through the bytes of a message."""
    return extract(parse(QuantizingCodec(UNCOMPRESSED, direction).compress(x).to_bytes())).clone()


def compare(whole: nn.Module, split: nn.Module) -> float:
    """Return the largest difference of any weight or buffer, relative to its tensor's largest value; 0: all equal."""
    theirs = split.state_dict()
    largest = 0.0
    for key, value in whole.state_dict().items():
        if not torch.equal(value, theirs[key]):
            scale = value.double().abs().max().clamp(min=1e-30)
            largest = max(largest, float((value.double() - theirs[key].double()).abs().max() / scale))
    return largest


def table(rows: dict[str, dict[str, Any]]) -> str:
    lines = ["| network | input | cuts | compared at | one training step |", "|---|---|---|---|---|"]
    for name in NAMES:
        if name not in rows:
            continue
        row = rows[name]
        args = "".join(f", `{key}={json.dumps(value)}`" for key, value in row["args"].items() if key == "aux_logits")
        label = f"{row['library']}:{name}{args}"
        if "error" in row:
            lines.append(f"| {label} | {row['input']} | – | – | {row['error'].replace('|', '/')} |")
            continue
        found = [value for value in row["steps"].values() if value]
        verdict = "identical" if not found else f"up to {max(found):.0e} apart at {len(found)} of {len(row['steps'])}"
        places = ", ".join(f"`{cut}`" for cut in row["steps"])
        lines.append(f"| {label} | {row['input']} | {len(row['cuts'])} | {places} | {verdict} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="make these rows anew; default: what is missing")
    args = parser.parse_args()
    if unknown := set(args.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(NAMES)}")

    torch.set_num_threads(THREADS)
    file = RESULTS / "architectures.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else {}
    for name in args.names or [name for name in NAMES if name not in rows]:
        rows[name] = measure(name)
        print(f"{name}: {rows[name].get('error') or rows[name]['steps']}", flush=True)
        save("architectures", {"meta": meta([SEED]), "rows": rows})
    page = re.sub(r"^\| network .*?\n(?!\|)", lambda _: table(rows), PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    PAGE.write_text(page)
    cut = [row for row in rows.values() if "error" not in row]
    same = [row for row in cut if not any(row["steps"].values())]
    print(json.dumps({"networks": len(rows), "cut": len(cut), "identical": len(same)}))


if __name__ == "__main__":
    main()
