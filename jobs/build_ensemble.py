"""Build an ensemble of small sub-models from one classifier, on Ray, and write its bundle and a report.

    python jobs/build_ensemble.py --recipe mnist5k_vit_n3 --out ensemble
    python jobs/build_ensemble.py --recipe mnist5k_vit_n3 --devices devices.yaml --set prune.keep=fit groups.n=null
    python jobs/build_ensemble.py --recipe mnist5k_vit_n3 --dry-run
    python jobs/build_ensemble.py --resume BUILD_DIR

A stopped job goes on with the epoch, or the sub-models, that were not done. The last line is a JSON object: the
build's summary (docs/ensembles.md) without the confusion tables.
"""

from __future__ import annotations

import argparse
import json
import sys

import ray

from raysplit import recipes
from raysplit.cli.command import command
from raysplit.config import EnsembleConfig
from raysplit.ensemble.build import build_ensemble, config_of
from raysplit.ensemble.preview import preview
from raysplit.ensemble.ray_runner import RayRunner
from raysplit.errors import ConfigError
from raysplit.hardware.machine import read_machines
from raysplit.report import write_ensemble_report
from raysplit.utils.storage import dated


def main() -> None:
    parser = argparse.ArgumentParser(description="Build an ensemble of small sub-models from one classifier.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--recipe", help=f"a name ({', '.join(recipes.ensemble_names())}, …), path.py:function or a .json file"
    )
    source.add_argument("--resume", metavar="BUILD_DIR", help="go on with a build")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--devices", metavar="FILE", help="YAML: name, memory_mib, gflops_per_s, energy_gflops of each")
    parser.add_argument("--out", metavar="DIR", help="where the build goes; default: a new folder under storage")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, train nothing")
    args = parser.parse_args()
    config, location = _chosen(args)
    if args.dry_run:
        print(preview(config))
        return
    print(f"build: {location}", flush=True)
    try:
        summary = build_ensemble(config, location, RayRunner())
    except KeyboardInterrupt:
        raise KeyboardInterrupt(location) from None
    finally:
        ray.shutdown()  # the workers' last lines come before ours
    report = write_ensemble_report(location)
    print(f"report: {report}")
    print(json.dumps({key: value for key, value in summary.items() if "confusion" not in key}, ensure_ascii=False))


def _chosen(args: argparse.Namespace) -> tuple[EnsembleConfig, str]:
    if args.resume:
        if args.set or args.devices or args.out:
            raise ConfigError("--resume goes on with the build's own config; leave out --set, --devices and --out")
        return config_of(args.resume), args.resume
    config = recipes.get_ensemble(args.recipe)
    if args.devices:
        config = config.replaced(devices=read_machines(args.devices))
    config = config.with_settings(args.set)
    return config, args.out or f"{config.storage}/{dated(config.name)}"


if __name__ == "__main__":
    sys.exit(command(main))
