"""How long an ensemble takes until all of its sub-models are ready, and what that costs in CPU seconds.

    python benchmarks/ready.py [--n 10] [--work DIR]

Starts Ray and Serve on this machine, then deploys the network of `mnist5k_vit_n3` in N sub-models, a replica for each.
`ready_s` is the time from there to the application's RUNNING, `machine_cpu_s` the CPU seconds of all processes of this
machine meanwhile, `cpu_s` those of this Ray, `replica_cpu_s` the median of a replica's. On a machine that does nothing
else, the first two are alike, and on a busy one the time says little: `cpu_s` over the cores is the least that it can
take. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
from pathlib import Path

import psutil
from meta import meta, save
from serving_load.bundles import make_ensemble
from serving_load.cluster import ANYONE, start_serve

_START_S = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10, help="sub-models, default 10")
    parser.add_argument("--work", default="~/raysplit_benchmarks/serving", help="folder for the bundle")
    args = parser.parse_args()

    bundle = make_ensemble(Path(args.work).expanduser(), args.n)
    with start_serve("default") as cluster:
        before, machine = measure_processes(), measure_machine()
        arguments = {"bundle": bundle, "missing": "drop", "access": ANYONE}
        app = {"name": "app", "route_prefix": "/", "import_path": "raysplit.serving.ensemble:build", "args": arguments}
        cluster.deploy([app])
        ready_s = cluster.wait_until_running(_START_S)
        after, busy_s = measure_processes(), measure_machine() - machine
        pids = cluster.application_pids("app")
    spent = {pid: seconds - before.get(pid, 0.0) for pid, seconds in after.items()}
    replicas = [spent[pid] for pid in pids if pid in spent]
    result = {
        "n": args.n,
        "ready_s": round(ready_s, 1),
        "machine_cpu_s": round(busy_s, 1),
        "cpu_s": round(sum(spent.values()), 1),
        "replica_cpu_s": round(statistics.median(replicas), 2),
        "replicas_cpu_s": round(sum(replicas), 1),
    }
    save("ready", {"meta": meta([0]), **result, "replicas": [round(one, 2) for one in replicas]})
    print(json.dumps(result))


def measure_processes() -> dict[int, float]:
    """Return the CPU seconds of this process and all that it started, by process id."""
    own = psutil.Process()
    seconds = {}
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds[process.pid] = times.user + times.system
    return seconds


def measure_machine() -> float:
    """Return the CPU seconds of this machine since it was started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


if __name__ == "__main__":
    main()
