"""What serving an ensemble costs: throughput and latency of its application, next to a lower bound and a plain way.

    python benchmarks/serving.py [--n 3 10] [--modes default throughput] [--rounds 3] [--seconds 5] [--work DIR]

Measured with the network of the recipe `mnist5k_vit_n3` in 3 and in 10 sub-models, all in one Ray on this machine:

- `inprocess`: the ensemble in one process with torch, one image at a time and 64 together;
- `app`: our application with a deployment per sub-model; `grouped`: with all sub-models in one deployment;
- `empty`: a composition with the same fan-out that computes nothing, the lower bound for all others;
- `noop`: one deployment that responds at once, the cost of HTTP through Serve;
- `plain`: a composition as in tutorials: JSON lists, no batching.

Each is measured with Serve's defaults and in its throughput mode behind HAProxy (`serving_cluster.MODES`). `wrk` sends
one image per request, from 1, 16 and 64 clients; applications take turns in each round, figures are medians over
rounds. Then a device client classifies images over an emulated link of 20, 2 and 20 Mbit/s. The last line is JSON with
the figures of the last number of sub-models and the last mode.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from meta import meta, save
from serving_load.bundles import make_ensemble, make_family
from serving_load.cluster import ANYONE, MODES, ServeCluster, start_serve
from serving_load.generator import Call, LoadResult, generate_load, require_wrk
from serving_load.target import measure_target

from raysplit.ensemble.bundle import Ensemble, load_ensemble

CLIENTS = (1, 16, 64)
WAYS = ("app", "grouped", "empty", "noop", "plain")
_START_S = 900
Figures = dict[tuple[str, int], list[LoadResult]]
"""Results of each round, by way and number of clients."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[3, 10], help="numbers of sub-models, default 3 and 10")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="default both")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take medians over, default 3")
    parser.add_argument("--seconds", type=int, default=5, help="seconds of load per figure, default 5")
    parser.add_argument("--work", default="~/raysplit_benchmarks/serving", help="folder for the bundles")
    args = parser.parse_args()
    require_wrk()
    work = Path(args.work).expanduser()
    bundles = {n: make_ensemble(work, n) for n in args.n}
    family = make_family(work)
    rows, goals = [], {}
    for n, mode in product(bundles, args.modes):
        local = load_ensemble(bundles[n])
        with start_serve(mode) as cluster:
            cluster.deploy(applications(bundles[n], n, local))
            print(f"{n} sub-models, {mode}: {cluster.wait_until_running(_START_S):.0f} s to start", flush=True)
            inprocess, figures = measure(cluster, local, args.rounds, args.seconds)
        rows += [{"n": n, "mode": mode, **row} for row in make_rows(inprocess, figures)]
        goals[mode] = summarize(inprocess, figures)
    with start_serve(args.modes[-1]) as cluster:
        cluster.deploy([application("split", "raysplit.serving.split:build", {"family": family, "access": ANYONE})])
        cluster.wait_until_running(_START_S)
        target = measure_target(family, f"{cluster.url}/split")
    print(format_table(rows), json.dumps(target), sep="\n")
    goals[args.modes[-1]]["target_kept_share"] = target["target_kept_share"]
    save("serving", {"meta": meta([0]), "rows": rows, "target": target, "goals": goals})
    print(json.dumps({"mode": args.modes[-1], **goals[args.modes[-1]]}))


def application(name: str, path: str, args: dict[str, Any]) -> dict[str, Any]:
    """Return an application as in a Serve config."""
    return {"name": name, "route_prefix": f"/{name}", "import_path": path, "args": args}


def applications(bundle: str, n: int, local: Ensemble) -> list[dict[str, Any]]:
    """Return the ways to serve one ensemble."""
    ours, size = "raysplit.serving.ensemble:build", 2 * local.manifest.submodels[0].features
    args = {"bundle": bundle, "missing": "wait", "access": ANYONE}
    return [
        application("app", ours, args),
        application("grouped", ours, args | {"groups": {"all": list(range(n))}}),
        application("empty", "serving_load.empty:build", {"n": n, "size": size}),
        application("noop", "serving_load.empty:build", {"n": 0, "size": size}),
        application("plain", "serving_load.plain:build", {"bundle": bundle}),
    ]


def make_calls(image: np.ndarray) -> dict[str, Call]:
    """Return the request for one image, uint8 (C, H, W), to each application."""
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


def measure(cluster: ServeCluster, local: Ensemble, rounds: int, seconds: int) -> tuple[dict[str, float], Figures]:
    """Return the medians for this process, and the results of each way and number of clients in every round."""
    image = np.random.default_rng(0).integers(0, 256, local.manifest.shape, dtype=np.uint8)
    calls, figures, inprocess = make_calls(image), defaultdict(list), defaultdict(list)
    for way in WAYS:
        generate_load(cluster.address, calls[way], 16, 3)
    for index in range(rounds):
        for name, value in measure_in_process(local, image, seconds).items():
            inprocess[name].append(value)
        for clients in CLIENTS:
            for way in WAYS:
                figures[way, clients].append(generate_load(cluster.address, calls[way], clients, seconds))
        print(f"round {index + 1} of {rounds} done", flush=True)
    return {name: statistics.median(values) for name, values in inprocess.items()}, figures


def measure_in_process(local: Ensemble, image: np.ndarray, seconds: int) -> dict[str, float]:
    """Return images per second and the median ms of one image, with whichever number of threads is faster."""
    one = torch.from_numpy(image)[None]
    many, threads = one.repeat(64, 1, 1, 1), torch.get_num_threads()
    results: dict[str, list[float]] = {"ips": [], "p50_ms": []}
    for count in {1, threads}:
        torch.set_num_threads(count)
        results["ips"].append(64 / statistics.median(_time_predictions(local, many, seconds / 4)))
        results["p50_ms"].append(1000 * statistics.median(_time_predictions(local, one, seconds / 4)))
    torch.set_num_threads(threads)
    return {"ips": max(results["ips"]), "p50_ms": min(results["p50_ms"])}


def _time_predictions(local: Ensemble, images: torch.Tensor, seconds: float) -> list[float]:
    local.predict(images)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        local.predict(images)
        times.append(time.perf_counter() - start)
    return times


def make_rows(inprocess: dict[str, float], figures: Figures) -> list[dict[str, Any]]:
    """Return a row for each way and number of clients: medians over rounds, and `bad` summed over rounds."""
    rows: list[dict[str, Any]] = [{"way": "inprocess", "clients": 64, "ips": inprocess["ips"]}]
    rows.append({"way": "inprocess", "clients": 1, "p50_ms": inprocess["p50_ms"]})
    for (way, clients), results in figures.items():
        keys = ("ips", "p50_ms", "p95_ms", "p99_ms")
        medians = {key: statistics.median(getattr(result, key) for result in results) for key in keys}
        rows.append({"way": way, "clients": clients, **medians, "bad": sum(result.bad for result in results)})
    return rows


def summarize(inprocess: dict[str, float], figures: Figures) -> dict[str, float]:
    """Return the figures that have goals."""

    def median(way: str, clients: int, key: str) -> float:
        return float(statistics.median(getattr(result, key) for result in figures[way, clients]))

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


def format_table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a text table."""
    keys = ("ips", "p50_ms", "p95_ms", "p99_ms")
    lines = [f"{'n':>3} {'mode':12}{'way':10}{'clients':>8}" + "".join(f"{key:>10}" for key in (*keys, "bad"))]
    for row in rows:
        head = f"{row['n']:>3} {row['mode']:12}{row['way']:10}{row['clients']:>8}"
        figures = "".join(f"{row[key]:10.1f}" if key in row else f"{'–':>10}" for key in keys)
        lines.append(f"{head}{figures}{row.get('bad', 0):>10}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
