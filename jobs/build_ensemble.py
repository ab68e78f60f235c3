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

from raysplit import recipes
from raysplit.cli.command import run_command
from raysplit.config import EnsembleConfig
from raysplit.errors import ConfigError
from raysplit.hardware.machine import read_machines


def main(argv: list[str] | None = None) -> None:
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
    args = parser.parse_args(argv)
    config = _read_config(args)
    if args.dry_run:
        from raysplit.ensemble.preview import preview_build

        print(preview_build(config))
        return

    import ray

    from raysplit.ensemble.build import build_ensemble
    from raysplit.ensemble.ray_runner import RayRunner
    from raysplit.report import write_ensemble_report
    from raysplit.utils.interrupts import Interrupts
    from raysplit.utils.progress import show_progress
    from raysplit.utils.storage import dated

    show_progress()
    location = args.resume or args.out or f"{config.storage}/{dated(config.name)}"
    print(f"build: {location}", flush=True)
    with Interrupts(location):
        try:
            summary = build_ensemble(config, location, RayRunner(), log=partial(print, flush=True))
        finally:
            ray.shutdown()  # so that the workers' last lines precede ours
        report = write_ensemble_report(location)
    print(f"report: {report}")
    printed = summary.model_dump(mode="json", exclude={"confusion", "base_confusion"})
    print(json.dumps(printed, ensure_ascii=False))


def _read_config(args: argparse.Namespace) -> EnsembleConfig:
    if args.resume is not None:
        if args.set or args.devices or args.out:
            raise ConfigError("--resume continues with the build's own config; leave out --set, --devices and --out")

        from raysplit.folders.build_dir import BuildDir

        return BuildDir.at(args.resume).config()
    config = recipes.get_ensemble(args.recipe)
    if args.devices:
        config = config.replaced(devices=read_machines(args.devices))
    return config.with_settings(args.set)


if __name__ == "__main__":
    sys.exit(run_command(main))
