"""Records of ensembles as builds leave them, with made-up numbers that could be true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
_MIB = 2**20


def _confusion(right: int) -> list[list[int]]:
    """Return counts of 1,000 images a class; what is not right is the next class, and cats and dogs are confused."""
    table = [[0] * 10 for _ in range(10)]
    for true in range(10):
        table[true][true] = right
        table[true][(true + 1) % 10] += (1000 - right) // 4
        other = {3: 5, 5: 3, 1: 9, 9: 1}.get(true, (true + 4) % 10)
        table[true][other] += 1000 - right - (1000 - right) // 4
    return table


def _submodel(index: int, classes: list[str], device: str | None, precision: str) -> dict[str, Any]:
    return {
        "classes": classes,
        "k": 2 + index % 2,
        "device": device,
        "params": 100_000 + 10_000 * (index % 2),
        "mib": 0.4 if precision == "fp32" else 0.2,
        "gmac": 0.0065,
        "latency_ms": 1.25,
        "feature_bytes": 256 if precision == "fp32" else 128,
        "accuracy_own": 0.81,
    }


def _seat(part: dict[str, Any]) -> dict[str, Any]:
    """Return a sub-model as the plan has it."""
    return {
        "classes": [CLASSES.index(name) for name in part["classes"]],
        "of": 10,
        "rest": True,
        "k": part["k"],
        "model": {"name": "vit", "args": {"patch": 4, "width": 16 * part["k"], "depth": 9, "heads": part["k"]}},
        "params": part["params"],
        "file_bytes": round(part["mib"] * _MIB),
        "flops": round(2e9 * part["gmac"]),
        "device": part["device"],
    }


def _totals(on_devices: list[float]) -> dict[str, float]:
    return {"device_max": max(on_devices), "total": sum(on_devices)}


def build_record(path: Path, n: int = 10, precision: str = "bf16", devices: bool = True) -> str:
    """Write config.json, plan.json and summary.json of a CIFAR-10 ViT's ensemble; return the folder."""
    names = ["camera", "phone", "gateway", "tablet", "drone"]
    placed = [names[i % 4] if devices else None for i in range(n)]
    groups = [CLASSES[i::n] for i in range(n)]
    submodels = [_submodel(i, groups[i], placed[i], precision) for i in range(n)]
    loads = []
    for name in names if devices else []:
        here = [i for i in range(n) if placed[i] == name]
        size, flops = sum(submodels[i]["mib"] for i in here), sum(2e9 * submodels[i]["gmac"] for i in here)
        loads.append(
            {
                "device": name,
                "submodels": [str(i) for i in here],
                "bytes": round(size * _MIB),
                "flops": flops,
                "seconds": flops / 2e9,
                "memory_share": size / 2,
                "energy_share": None if name == "gateway" else flops * 1000 / 50e9,
            }
        )
    config = {
        "name": "cifar10_vit_n10",
        "data": {"name": "cifar10"},
        "base": {"model": {"name": "vit", "args": {"patch": 4, "width": 192, "depth": 9, "heads": 12}}},
        "groups": {"n": n, "by": "confusion", "rest": True},
        "prune": {"keep": "fit" if devices else 0.25, "scores": "fast", "proxy": 128},
        "retrain": {"epochs": 10, "distill": 1.0},
        "precision": precision,
        "devices": [{"name": name, "memory_mib": 2.0, "gflops_per_s": 2.0} for name in loads and names],
        "samples": 1000,
    }
    plan = {
        "kind": "vit",
        "steps": 12,
        "shape": [3, 32, 32],
        "seats": [_seat(part) for part in submodels],
        "loads": loads,
    }
    by_device: dict[str, list[dict[str, Any]]] = {}
    for i, part in enumerate(submodels):
        by_device.setdefault(placed[i] or str(i), []).append(part)
    sums = {
        key: [sum(part[key] for part in parts) for parts in by_device.values()] for key in ("mib", "gmac", "latency_ms")
    }
    totals = {f"{key}_{of}": value for key, on_devices in sums.items() for of, value in _totals(on_devices).items()}
    lost = {f"lost{count}": 0.762 - 0.012 * count**1.3 for count in range(1, min(3, n - 1) + 1)}
    summary = {
        "recipe": "cifar10_vit_n10",
        "kind": "vit",
        "n": n,
        "classes": CLASSES,
        "accuracy": 0.766,
        "base_accuracy": 0.770,
        **lost,
        "precision": precision,
        "base_params": 2_697_610,
        "base_mib": 10.3,
        "base_mib_like": 10.3 if precision == "fp32" else 5.15,
        "base_gmac": 0.1755,
        "base_latency_ms": 7.5,
        "base_latency_like_ms": 7.5 if precision == "fp32" else 5.0,
        **totals,
        "bytes_per_sample": sum(part["feature_bytes"] for part in submodels),
        "bytes_per_sample_raw": 3072,
        "submodels": submodels,
        "devices": loads,
        "confusion": _confusion(766),
        "base_confusion": _confusion(770),
        "test_images": 10_000,
        "seconds": {"base": 5400.0, "score": 90.0, "submodels": 690.0, "fusion": 45.0},
        "bundle": f"{path}/bundle",
        "bundle_id": "0123456789abcdef" * 4,
    }
    path.mkdir(parents=True, exist_ok=True)
    for name, tree in (("config", config), ("plan", plan), ("summary", summary)):
        (path / f"{name}.json").write_text(json.dumps(tree))
    return str(path)
