"""What a sub-model's replica and the client of a device load, beside torch alone.

    python benchmarks/imports.py [--rounds 7]

Each round starts a fresh interpreter for each of: `import torch`; the modules of a replica of sub-models and a small
ViT; `DeviceClient`. They take turns; figures are medians of the process's own CPU seconds and of its resident memory
afterwards. Run it once before, so that all bytecode is compiled, on a machine that does nothing else.

The last line is one JSON object: the ratios to torch alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

from meta import ROOT, meta, save
from typing_extensions import TypedDict

PARTS = {
    "torch": "import torch",
    "replica": """
import torch
from raysplit.config import ModelConfig
from raysplit.ensemble.bundle import load_ensemble
from raysplit.models.plain_vit import PlainViT
from raysplit.serving.ensemble.submodels import SubmodelDeployment
PlainViT(classes=4, shape=(1, 28, 28), patch=7, width=32, depth=4, heads=2)
""",
    "device client": "from raysplit.device import DeviceClient",
}
"""What each of them imports."""
MEASURE = """
import json, os, sys, time
exec(sys.argv[1])
with open("/proc/self/statm") as file:
    pages = int(file.read().split()[1])
print(json.dumps({"cpu_s": time.process_time(), "rss_mib": pages * os.sysconf("SC_PAGE_SIZE") / 2**20}))
"""


class Cost(TypedDict):
    """What a fresh interpreter costs until everything is imported."""

    cpu_s: float
    rss_mib: float


def measure(code: str) -> Cost:
    """Run code in a fresh interpreter and return its costs, of the interpreter's own start too."""
    done = subprocess.run([sys.executable, "-c", MEASURE, code], cwd=ROOT, capture_output=True, text=True, check=True)
    cost: Cost = json.loads(done.stdout.splitlines()[-1])
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="interpreters for each part; default 7")
    args = parser.parse_args()

    costs: dict[str, list[Cost]] = {part: [] for part in PARTS}
    for _ in range(args.rounds):
        for part, code in PARTS.items():
            costs[part].append(measure(code))
    rows = {
        part: Cost(
            cpu_s=statistics.median(cost["cpu_s"] for cost in found),
            rss_mib=statistics.median(cost["rss_mib"] for cost in found),
        )
        for part, found in costs.items()
    }
    alone = rows["torch"]
    print(f"{'':15}{'CPU s':>8}{'MiB':>8}{'CPU ×':>8}{'MiB ×':>8}")
    ratios = {}
    for part, row in rows.items():
        cpu, memory = row["cpu_s"] / alone["cpu_s"], row["rss_mib"] / alone["rss_mib"]
        print(f"{part:15}{row['cpu_s']:8.2f}{row['rss_mib']:8.0f}{cpu:8.2f}{memory:8.2f}")
        ratios[part] = {"cpu": round(cpu, 3), "memory": round(memory, 3)}
    save("imports", {"meta": meta([]), "rows": rows, "ratios": ratios, "all": costs})
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
