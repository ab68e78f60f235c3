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
        "--pin",
        choices=("resource", "label"),
        default="resource",
        help="what ties a deployment to its pods: a custom resource, or a label of Ray (KubeRay 1.5); default resource",
    )
    parser.add_argument(
        "--job", metavar="COMMAND", help='print a RayJob that runs it instead: "jobs/train_split.py --recipe NAME"'
    )
    parser.add_argument(
        "--gateway", metavar="HOST", help="print the gateway instead, which devices reach at https://HOST"
    )
    parser.add_argument(
        "--job-image", metavar="IMAGE", help="with jobs/, for --job and --gateway; its tag begins with its Ray version"
    )
    parser.add_argument(
        "--devices", metavar="FILE", help="print the devices of devices.yaml as pods instead, which join the gateway"
    )
    parser.add_argument("--device-image", metavar="IMAGE", help="of a device, for --devices")
    parser.add_argument("--name", default="ensemble", help="of what is printed; default ensemble")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the folder and list its files, or print the manifests."""
    if args.devices is not None:
        _print_devices(args)
        return
    if args.job is not None or args.gateway is not None:
        _print_training(args)
        return
    if args.bundle is None:
        raise ConfigError("raysplit kuberay needs the folder of an ensemble, --job, --gateway or --devices; name one")
    from raysplit.containers.kustomize import write_kustomize
    from raysplit.containers.parts import plan_application
    from raysplit.containers.rayservice import render_rayservice
    from raysplit.containers.serve_config import ServingOptions
    from raysplit.ensemble.bundle import load_ensemble

    app = plan_application(load_ensemble(args.bundle), args.images, args.name, args.per)
    if args.out is None:
        print(render_rayservice(app, ServingOptions({}, pin=args.pin)), end="")
    else:
        print(*(f"{args.out}/{name}" for name in write_kustomize(app, args.out, args.pin)), sep="\n")


def _print_training(args: argparse.Namespace) -> None:
    from raysplit.containers.gateway import render_gateway
    from raysplit.containers.rayjob import render_rayjob

    if (
        args.job_image is None
        or args.bundle is not None
        or args.out is not None
        or None not in (args.job, args.gateway)
    ):
        raise ConfigError("one of --job and --gateway needs --job-image, and neither BUNDLE nor -o; change the command")
    if args.job is not None:
        print(render_rayjob(args.name, args.job, args.job_image), end="")
    else:
        print(render_gateway(args.name, args.job_image, args.gateway), end="")


def _print_devices(args: argparse.Namespace) -> None:
    from raysplit.containers.device_pods import render_devices
    from raysplit.hardware.machine import read_machines

    if args.gateway is None or args.device_image is None or {args.bundle, args.out, args.job, args.job_image} != {None}:
        raise ConfigError(
            "--devices needs --gateway and --device-image, and nothing else but --name; change the command"
        )
    print(render_devices(args.name, read_machines(args.devices), args.device_image, args.gateway), end="")
