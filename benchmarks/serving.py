"""What serving an ensemble costs: images per second and latency of its application, beside a floor and a plain way.

    python benchmarks/serving.py [--n 3 10] [--modes default throughput] [--rounds 3] [--seconds 5] [--work DIR]

On the network of the recipe `mnist5k_vit_n3` in 3 and in 10 sub-models, all in one Ray on this machine:

- `inprocess`: the ensemble in one process with torch, one image at a time and 64 together;
- `app`: our application, a deployment for each sub-model; `grouped`: the same, all sub-models in one;
- `empty`: a composition of the same fan-out that computes nothing, the floor of all others;
- `noop`: one deployment that answers at once, what HTTP through Serve costs;
- `plain`: a composition as tutorials write it: JSON lists, no batches.

Once with Serve as it comes, once with HAProxy in front and Serve's throughput mode (`serving_place.MODES`). `wrk` sends
one image a request, from 1, 16 and 64 clients; applications take turns in each round, figures are medians over rounds.
After that a device client classifies over an emulated link of 20, 2 and 20 Mbit/s. The last line is JSON, of the last
number of sub-models and the last mode.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from meta import meta, save
from serving_load import Call, Load, load, missing
from serving_made import ensemble, family
from serving_place import ANYONE, MODES, Place, serving
from serving_target import kept_share

from raysplit.ensemble.bundle import Ensemble, load_ensemble

CLIENTS = (1, 16, 64)
WAYS = ("app", "grouped", "empty", "noop", "plain")
_START_S = 900
Figures = dict[tuple[str, int], list[Load]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[3, 10], help="numbers of sub-models, default 3 and 10")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="default both")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--seconds", type=int, default=5, help="of load for each figure, default 5")
    parser.add_argument("--work", default="~/raysplit_benchmarks/serving", help="where the bundles are kept")
    args = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    work = Path(args.work).expanduser()
    bundles = {n: ensemble(work, n) for n in args.n}
    devices = family(work)
    rows, goals = [], {}
    for n, mode in product(bundles, args.modes):
        local = load_ensemble(bundles[n])
        with serving(mode) as place:
            place.deploy(applications(bundles[n], n, local))
            print(f"{n} sub-models, {mode}: {place.wait(_START_S):.0f} s to start", flush=True)
            inprocess, figures = measure(place, local, args.rounds, args.seconds)
        rows += [{"n": n, "mode": mode, **row} for row in table(inprocess, figures)]
        goals[mode] = summary(inprocess, figures)
    with serving(args.modes[-1]) as place:
        place.deploy([application("split", "raysplit.serving.split:build", {"family": devices, "access": ANYONE})])
        place.wait(_START_S)
        target = kept_share(devices, f"{place.url}/split")
    print(text(rows), json.dumps(target), sep="\n")
    goals[args.modes[-1]]["target_kept_share"] = target["target_kept_share"]
    save("serving", {"meta": meta([0]), "rows": rows, "target": target, "goals": goals})
    print(json.dumps({"mode": args.modes[-1], **goals[args.modes[-1]]}))


def application(name: str, path: str, args: dict[str, Any]) -> dict[str, Any]:
    """Return an application as a Serve config has it."""
    return {"name": name, "route_prefix": f"/{name}", "import_path": path, "args": args}


def applications(bundle: str, n: int, local: Ensemble) -> list[dict[str, Any]]:
    """Return the ways to serve one ensemble."""
    ours, size = "raysplit.serving.ensemble:build", 2 * local.manifest.submodels[0].features
    args = {"bundle": bundle, "missing": "wait", "access": ANYONE}
    return [
        application("app", ours, args),
        application("grouped", ours, args | {"groups": {"all": list(range(n))}}),
        application("empty", "serving_empty:build", {"n": n, "size": size}),
        application("noop", "serving_empty:build", {"n": 0, "size": size}),
        application("plain", "serving_plain:build", {"bundle": bundle}),
    ]


def calls(image: np.ndarray) -> dict[str, Call]:
    """Return the request of each way for one image, uint8 (C, H, W)."""
    shape = [1, *image.shape]
    tensor = {"name": "images", "datatype": "UINT8", "shape": shape, "parameters": {"binary_data_size": image.size}}
    outputs = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    body, binary = head + image.tobytes(), {"Inference-Header-Content-Length": str(len(head))}
    lists = json.dumps({"image": image.tolist()}).encode()
    return {
        "app": Call("/app/v2/models/raysplit/infer", body, binary),
        "grouped": Call("/grouped/v2/models/raysplit/infer", body, binary),
        "empty": Call("/empty/", body, {}),
        "noop": Call("/noop/", body, {}),
        "plain": Call("/plain/", lists, {"Content-Type": "application/json"}),
    }


def measure(place: Place, local: Ensemble, rounds: int, seconds: int) -> tuple[dict[str, float], Figures]:
    """Return the figures of this process, and of each way and number of clients in every round."""
    image = np.random.default_rng(0).integers(0, 256, local.manifest.shape, dtype=np.uint8)
    asked, figures, inprocess = calls(image), defaultdict(list), defaultdict(list)
    for way in WAYS:
        load(place.address, asked[way], 16, 3)
    for turn in range(rounds):
        for name, value in alone(local, image, seconds).items():
            inprocess[name].append(value)
        for clients in CLIENTS:
            for way in WAYS:
                figures[way, clients].append(load(place.address, asked[way], clients, seconds))
        print(f"round {turn + 1} of {rounds} is done", flush=True)
    return {name: statistics.median(values) for name, values in inprocess.items()}, figures


def alone(local: Ensemble, image: np.ndarray, seconds: int) -> dict[str, float]:
    """Return images per second and the median ms of one image in this process, at the better number of threads."""
    one = torch.from_numpy(image)[None]
    many, threads = one.repeat(64, 1, 1, 1), torch.get_num_threads()
    found: dict[str, list[float]] = {"ips": [], "p50_ms": []}
    for count in {1, threads}:
        torch.set_num_threads(count)
        found["ips"].append(64 / statistics.median(_times(local, many, seconds / 4)))
        found["p50_ms"].append(1000 * statistics.median(_times(local, one, seconds / 4)))
    torch.set_num_threads(threads)
    return {"ips": max(found["ips"]), "p50_ms": min(found["p50_ms"])}


def _times(local: Ensemble, images: torch.Tensor, seconds: float) -> list[float]:
    local.predict(images)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        local.predict(images)
        times.append(time.perf_counter() - start)
    return times


def table(inprocess: dict[str, float], figures: Figures) -> list[dict[str, Any]]:
    """Return a row for each way and number of clients, of medians over rounds; `bad` is of all rounds."""
    rows: list[dict[str, Any]] = [{"way": "inprocess", "clients": 64, "ips": inprocess["ips"]}]
    rows.append({"way": "inprocess", "clients": 1, "p50_ms": inprocess["p50_ms"]})
    for (way, clients), loads in figures.items():
        keys = ("ips", "p50_ms", "p95_ms", "p99_ms")
        found = {key: statistics.median(getattr(one, key) for one in loads) for key in keys}
        rows.append({"way": way, "clients": clients, **found, "bad": sum(one.bad for one in loads)})
    return rows


def summary(inprocess: dict[str, float], figures: Figures) -> dict[str, float]:
    """Return the figures that goals are set for."""

    def median(way: str, clients: int, key: str) -> float:
        return statistics.median(getattr(one, key) for one in figures[way, clients])

    return {
        "app_ips_16": median("app", 16, "ips"),
        "app_ips_64": median("app", 64, "ips"),
        "grouped_ips_64": median("grouped", 64, "ips"),
        "plain_ips_16": median("plain", 16, "ips"),
        "plain_ips_64": median("plain", 64, "ips"),
        "inprocess_ips": inprocess["ips"],
        "app_p50_ms_1": median("app", 1, "p50_ms"),
        "empty_p50_ms_1": median("empty", 1, "p50_ms"),
        "compute_p50_ms_1": inprocess["p50_ms"],
        "noop_ips_64": median("noop", 64, "ips"),
    }


def text(rows: list[dict[str, Any]]) -> str:
    """Return the table for people."""
    keys = ("ips", "p50_ms", "p95_ms", "p99_ms")
    lines = [f"{'n':>3} {'mode':12}{'way':10}{'clients':>8}" + "".join(f"{key:>10}" for key in (*keys, "bad"))]
    for row in rows:
        head = f"{row['n']:>3} {row['mode']:12}{row['way']:10}{row['clients']:>8}"
        figures = "".join(f"{row[key]:10.1f}" if key in row else f"{'–':>10}" for key in keys)
        lines.append(f"{head}{figures}{row.get('bad', 0):>10}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
