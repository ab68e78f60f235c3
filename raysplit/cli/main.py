"""The `raysplit` command: every verb calls one function of the library."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from raysplit.cli.command import command
from raysplit.errors import ConfigError


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="raysplit", description="Share one neural network between device and server.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    _add_profile(verbs)
    _add_plan(verbs)
    _add_calibrate(verbs)
    _add_report(verbs)
    _add_inspect(verbs)
    _add_predict(verbs)
    _add_device(verbs)
    _add_export(verbs)
    _add_check(verbs)
    _add_kuberay(verbs)
    args = parser.parse_args(argv)
    return command(lambda: args.run(args))


def _add_profile(verbs: Any) -> None:
    verb = verbs.add_parser("profile", help="every cut of a model and what it costs")
    verb.add_argument("model", help="vgg11, a torchvision or timm name, or path.py:function")
    verb.add_argument("--input", default="3x32x32", metavar="CxHxW", help="default 3x32x32")
    verb.add_argument("--classes", type=int, default=10, help="default 10")
    verb.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    verb.set_defaults(run=_profile)


def _profile(args: argparse.Namespace) -> None:
    from raysplit.config import ModelConfig
    from raysplit.models import build
    from raysplit.planner.cut_costs import as_json, as_table, price

    shape = _shape(args.input)
    rows = price(build(ModelConfig(name=args.model), args.classes, shape), shape)
    given = "x".join(map(str, shape))
    print(json.dumps(as_json(args.model, given, rows)) if args.json else as_table(args.model, given, rows))


def _shape(text: str) -> tuple[int, int, int]:
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"--input '{text}' is not a shape; write channels x height x width, like 3x32x32")
    return int(parts[0]), int(parts[1]), int(parts[2])


def _add_plan(verbs: Any) -> None:
    verb = verbs.add_parser("plan", help="what each cut and level would cost on a link and a device, before training")
    verb.add_argument("model", help="vgg11, a torchvision or timm name, or path.py:function")
    verb.add_argument("--data", default="cifar10", help="for the images' shape and classes; default cifar10")
    verb.add_argument("--link", default="wifi", help="wifi, lte, ethernet, iot, or a YAML file; default wifi")
    verb.add_argument("--device", default="pi4", help="pi4, jetson, mcu, or a YAML file; default pi4")
    verb.add_argument("--server", default="server", help="server, or a YAML file")
    verb.add_argument("--levels", nargs="+", metavar="LEVEL", help="like c4.b4/b4.zstd; default: five, from fp32 on")
    verb.add_argument("--rate", type=float, metavar="R", help="images per second that every part must keep up with")
    verb.add_argument("--batch", type=int, default=50, help="training batch, default 50")
    verb.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    verb.add_argument("-o", "--out", metavar="PAGE", help="write a heat map as an HTML page too")
    verb.set_defaults(run=_plan)


def _plan(args: argparse.Namespace) -> None:
    from raysplit.config import DataConfig, ModelConfig, parse
    from raysplit.hardware.link import get_link
    from raysplit.hardware.machine import get_machine
    from raysplit.planner.render import as_page, as_table
    from raysplit.planner.static_plan import LEVELS, static_plan
    from raysplit.utils.storage import write_file
    from raysplit.wire.level import Level

    if args.rate is not None and not args.rate > 0:
        raise ConfigError(f"--rate {args.rate} is no number of images per second; give one above 0")
    if args.batch < 1:
        raise ConfigError(f"--batch {args.batch} is no batch; give 1 or more")
    plan = static_plan(
        ModelConfig(name=args.model),
        DataConfig(name=args.data),
        get_link(args.link),
        get_machine(args.device),
        get_machine(args.server),
        [parse(Level, level, where="--levels") for level in args.levels or LEVELS],
        args.batch,
        args.rate,
    )
    print(json.dumps(plan.as_json(), ensure_ascii=False) if args.json else as_table(plan))
    if args.out:
        write_file(args.out, as_page(plan).encode())


def _add_calibrate(verbs: Any) -> None:
    verb = verbs.add_parser("calibrate", help="measure this machine for `raysplit plan`")
    verb.add_argument("--name", default="here", help="what plans call it; default here")
    verb.add_argument("-o", "--out", default="machine.yaml", metavar="FILE", help="default machine.yaml")
    verb.set_defaults(run=_calibrate)


def _calibrate(args: argparse.Namespace) -> None:
    import yaml

    from raysplit.planner.calibrate import calibrate
    from raysplit.utils.storage import write_file

    text = yaml.safe_dump(calibrate(args.name).model_dump(), sort_keys=False, allow_unicode=True, width=200)
    write_file(args.out, text.encode())
    print(f"{text}{args.out}")


def _add_report(verbs: Any) -> None:
    verb = verbs.add_parser("report", help="accuracy, megabytes and time of one or more runs, as a page")
    verb.add_argument("runs", nargs="+", metavar="RUN_DIR")
    verb.add_argument("-o", "--out", default="report.html", help="default report.html; pictures go beside it")
    verb.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> None:
    from raysplit.report import family_table, read_run, table, write_report

    runs = [read_run(path) for path in args.runs]
    print(table(runs))
    if families := family_table(runs):
        print(f"\n{families}")
    for path in write_report(args.runs, args.out):
        print(path)


def _add_inspect(verbs: Any) -> None:
    verb = verbs.add_parser("inspect", help="what is in a bundle: an ensemble of sub-models, or a prune family")
    verb.add_argument("bundle", metavar="BUNDLE", help="its folder, a path or URI")
    verb.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    verb.set_defaults(run=_inspect)


def _inspect(args: argparse.Namespace) -> None:
    from raysplit.cli.bundles import as_table, inspect

    found = inspect(args.bundle)
    print(json.dumps(found, ensure_ascii=False) if args.json else as_table(found))


def _add_predict(verbs: Any) -> None:
    verb = verbs.add_parser("predict", help="what an ensemble sees in image files")
    verb.add_argument("bundle", metavar="BUNDLE", help="the ensemble's folder, a path or URI")
    verb.add_argument("images", nargs="+", metavar="IMAGE", help="8-bit image files of any size")
    verb.add_argument("--top", type=int, default=3, help="classes to name for each image, default 3")
    verb.add_argument("--missing", default="", metavar="1,4", help="sub-models to do without, by number from 0")
    verb.add_argument("--json", action="store_true", help="one JSON object in place of the lines")
    verb.set_defaults(run=_predict)


def _predict(args: argparse.Namespace) -> None:
    from raysplit.cli.bundles import as_lines, predict

    found = predict(args.bundle, args.images, args.top, _numbers(args.missing))
    print(json.dumps({"images": found}, ensure_ascii=False) if args.json else as_lines(found))


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--missing '{text}' is not a list of sub-models; write their numbers, like 1,4")
    return [int(part) for part in parts]


def _add_device(verbs: Any) -> None:
    verb = verbs.add_parser("device", help="classify image files: the device half here, the server half behind a URL")
    verb.add_argument("family", metavar="FAMILY", help="the prune family's folder, a path or URI")
    verb.add_argument("images", nargs="+", metavar="IMAGE", help="8-bit image files of any size")
    verb.add_argument("--url", required=True, help="of the server, like http://127.0.0.1:8000")
    verb.add_argument("--target-ms", type=float, default=200.0, metavar="MS", help="from pixels to answer, default 200")
    verb.add_argument("--key-env", metavar="NAME", help="environment variable with the server's API key")
    verb.add_argument("--json", action="store_true", help="one JSON object in place of the lines")
    verb.set_defaults(run=_device)


def _device(args: argparse.Namespace) -> None:
    from raysplit.cli.device_lines import as_lines, ask

    found = ask(args.family, args.url, args.images, args.target_ms / 1000, args.key_env)
    print(json.dumps({"images": found}, ensure_ascii=False) if args.json else as_lines(found))


def _add_export(verbs: Any) -> None:
    verb = verbs.add_parser("export", help="a half of a family for machines without raysplit: torch.export or ONNX")
    verb.add_argument("family", metavar="FAMILY", help="the prune family's folder, a path or URI")
    verb.add_argument("--half", choices=("device", "server"), default="device", help="default device")
    verb.add_argument("--level", help="like c4.b4/b4.zstd; default: the loosest")
    verb.add_argument("-o", "--out", default="device.pt2", metavar="FILE", help=".pt2 or .onnx; default device.pt2")
    verb.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> None:
    from raysplit.family.export import export

    says = export(args.family, args.half, args.out, args.level)
    given, gives = (
        "{dtype} ({})".format(", ".join(map(str, end["shape"])), **end) for end in (says["input"], says["output"])
    )
    print(f"{args.out}: {args.half} half at {says['level']}, {given} → {gives}")


def _add_check(verbs: Any) -> None:
    verb = verbs.add_parser("check", help="what is wrong with Serve configs and RayService manifests, before they run")
    verb.add_argument("files", nargs="+", metavar="FILE", help="YAML; relative paths in it start where this runs")
    verb.set_defaults(run=_check)


def _check(args: argparse.Namespace) -> None:
    from raysplit.serving.check import check_file

    faults = 0
    for file in args.files:
        findings = check_file(file)
        faults += len(findings)
        print(*(f"{file}: {finding}" for finding in findings or ("ok",)), sep="\n")
    if faults:
        raise ConfigError(f"{faults} {'fault' if faults == 1 else 'faults'} to mend")


def _add_kuberay(verbs: Any) -> None:
    verb = verbs.add_parser("kuberay", help="an ensemble on Kubernetes: a RayService with pods for each sub-model")
    verb.add_argument("bundle", metavar="BUNDLE", help="the ensemble's folder, a path or URI")
    verb.add_argument("--image", required=True, help="of all pods; its tag begins with its Ray version")
    verb.add_argument("--path", help="where pods find the bundle; default BUNDLE")
    verb.set_defaults(run=_kuberay)


def _kuberay(args: argparse.Namespace) -> None:
    from raysplit.ensemble.bundle import load_ensemble
    from raysplit.serving.kuberay import manifest

    submodels = len(load_ensemble(args.bundle).manifest.submodels)
    print(manifest(submodels, args.path or args.bundle, args.image), end="")


if __name__ == "__main__":
    sys.exit(main())
