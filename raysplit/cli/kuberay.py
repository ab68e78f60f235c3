"""`raysplit kuberay`: manifests that serve an ensemble on Kubernetes, with KubeRay."""

from __future__ import annotations

import argparse

from raysplit.cli.command import Verbs
from raysplit.errors import ConfigError


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("kuberay", help="write Kubernetes manifests that serve an ensemble")
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE", help="the ensemble's folder, a path or URI")
    parser.add_argument(
        "-o", "--out", metavar="DIR", help="a folder for kubectl apply -k; without it, one RayService is printed"
    )
    parser.add_argument(
        "--images",
        default="localhost/raysplit",
        metavar="PREFIX",
        help="what the names of the images begin with, as in `raysplit image --name`; default localhost/raysplit",
    )
    parser.add_argument(
        "--per", choices=("submodel", "device"), default="submodel", help="a group of pods per sub-model, or per device"
    )
    parser.add_argument(
        "--job", metavar="COMMAND", help='print a RayJob that runs it instead: "jobs/train_split.py --recipe NAME"'
    )
    parser.add_argument("--job-image", metavar="IMAGE", help="with the job's file; its tag begins with its Ray version")
    parser.add_argument("--name", default="ensemble", help="of the RayService; default ensemble")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the folder and list its files, or print the RayService or the RayJob."""
    if args.job is not None:
        _print_job(args)
        return
    if args.bundle is None:
        raise ConfigError("raysplit kuberay needs the folder of an ensemble, or --job; name one")
    from raysplit.containers.kustomize import write_kustomize
    from raysplit.containers.parts import plan_application
    from raysplit.containers.rayservice import render_rayservice
    from raysplit.containers.serve_config import ServingOptions
    from raysplit.ensemble.bundle import load_ensemble

    app = plan_application(load_ensemble(args.bundle), args.images, args.name, args.per)
    if args.out is None:
        print(render_rayservice(app, ServingOptions({})), end="")
    else:
        print(*(f"{args.out}/{name}" for name in write_kustomize(app, args.out)), sep="\n")


def _print_job(args: argparse.Namespace) -> None:
    from raysplit.containers.rayjob import render_rayjob

    if args.job_image is None or args.bundle is not None or args.out is not None:
        raise ConfigError("a RayJob of --job needs --job-image, and neither BUNDLE nor -o; change the command")
    print(render_rayjob(args.name, args.job, args.job_image), end="")
