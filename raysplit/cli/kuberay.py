"""`raysplit kuberay`: a KubeRay manifest that serves an ensemble on Kubernetes."""

from __future__ import annotations

import argparse

from raysplit.cli.command import Verbs


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("kuberay", help="print a Kubernetes manifest that serves an ensemble")
    parser.add_argument("bundle", metavar="BUNDLE", help="the ensemble's folder, a path or URI")
    parser.add_argument("--image", required=True, help="of all pods; its tag begins with its Ray version")
    parser.add_argument("--path", help="where pods find the bundle; default BUNDLE")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the manifest."""
    from raysplit.ensemble.bundle import load_ensemble
    from raysplit.serving.kuberay import render_manifest

    submodels = len(load_ensemble(args.bundle).manifest.submodels)
    print(render_manifest(submodels, args.path or args.bundle, args.image), end="")
