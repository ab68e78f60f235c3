"""Build an ensemble of small sub-models from one classifier, on Ray, and write its bundle and a report.

    python jobs/build_ensemble.py --recipe mnist5k_vit_n3 --out ensemble
    python jobs/build_ensemble.py --recipe mnist5k_vit_n3 --devices devices.yaml --set prune.keep=fit groups.n=null
    python jobs/build_ensemble.py --recipe mnist5k_vit_n3 --dry-run
    python jobs/build_ensemble.py --resume BUILD_DIR

--resume continues a stopped build with the epoch of the base, or the sub-models, that were not done. The last line is a
JSON object: the build's summary (docs/ensembles.md) without the confusion matrices.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial

import ray

from raysplit import recipes
from raysplit.cli.command import command
from raysplit.config import EnsembleConfig
from raysplit.ensemble.build import build_ensemble
from raysplit.ensemble.preview import preview_build
from raysplit.ensemble.ray_runner import RayRunner
from raysplit.errors import ConfigError
from raysplit.folders.build_dir import BuildDir
from raysplit.hardware.machine import read_machines
from raysplit.report import write_ensemble_report
from raysplit.utils.storage import dated


def main() -> None:
    parser = argparse.ArgumentParser(description="Build an ensemble of small sub-models from one classifier.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--recipe", help=f"a name ({', '.join(recipes.ensemble_names())}, …), path.py:function or a .json file"
    )
    source.add_argument("--resume", metavar="BUILD_DIR", help="continue a build")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="recipe settings")
    parser.add_argument("--devices", metavar="FILE", help="YAML: name, memory_mib, gflops_per_s, energy_gflops of each")
    parser.add_argument("--out", metavar="DIR", help="the build's folder; default: a new one under storage")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, train nothing")
    args = parser.parse_args()
    config, location = _read_arguments(args)
    if args.dry_run:
        print(preview_build(config))
        return
    print(f"build: {location}", flush=True)
    try:
        summary = build_ensemble(config, location, RayRunner(), log=partial(print, flush=True))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(location) from None
    finally:
        ray.shutdown()  # so that the workers' last lines precede ours
    report = write_ensemble_report(location)
    print(f"report: {report}")
    printed = summary.model_dump(mode="json", exclude={"confusion", "base_confusion"})
    print(json.dumps(printed, ensure_ascii=False))


def _read_arguments(args: argparse.Namespace) -> tuple[EnsembleConfig, str]:
    if args.resume:
        if args.set or args.devices or args.out:
            raise ConfigError("--resume uses the build's own config; leave out --set, --devices and --out")
        return BuildDir.at(args.resume).config(), args.resume
    config = recipes.get_ensemble(args.recipe)
    if args.devices:
        config = config.replaced(devices=read_machines(args.devices))
    config = config.with_settings(args.set)
    return config, args.out or f"{config.storage}/{dated(config.name)}"


if __name__ == "__main__":
    sys.exit(command(main))
