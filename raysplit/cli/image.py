"""`raysplit image`: a container image for each part of a bundle."""

from __future__ import annotations

import argparse

from raysplit.cli.command import Verbs


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("image", help="build a container image for each part of a bundle")
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of an ensemble, a family or a run, a path or URI")
    parser.add_argument("--engine", choices=("podman", "docker", "buildah"), default="podman", help="default podman")
    parser.add_argument(
        "--name",
        default="localhost/raysplit",
        metavar="PREFIX",
        help="what the images' names begin with; default localhost/raysplit",
    )
    parser.add_argument(
        "--per", choices=("submodel", "device"), default="submodel", help="an image per sub-model, or per device"
    )
    parser.add_argument("--base", metavar="IMAGE", help="with Python 3.11; default python:3.11-slim-bookworm")
    parser.add_argument("--torch-index", metavar="URL", help="package index with torch; default torch's own for CPUs")
    parser.add_argument("--dockerfiles", metavar="DIR", help="default: docker/ of the repository")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Build the images and print their sizes."""
    from raysplit.containers.engine import Engine
    from raysplit.containers.images import ImageSource, build_images
    from raysplit.utils.text_table import align_table

    source = ImageSource(args.base, args.torch_index)
    built = build_images(args.bundle, args.name, Engine.find(args.engine), source, args.dockerfiles, args.per)
    rows = [[image.name, f"{image.mib:.0f}", f"{image.added_mib:.2f}", f"{image.weights_mib:.2f}"] for image in built]
    print(align_table(["image", "MiB", "added MiB", "weights MiB"], rows, text_columns=1))
