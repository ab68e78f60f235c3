"""Search for cuts, levels or sub-models on Ray Tune, and write the Pareto front with a recipe for each point on it.

    python jobs/search.py --space tune_spaces.cut_and_level --recipe mnist5k_vgg11_uncompressed --trials 12
    python jobs/search.py --space tune_spaces.ensemble --recipe mnist5k_vit_n3 --objectives accuracy,mib --trials 6
    python jobs/search.py --resume DIR

A stopped search resumes after the trials that had ended. Trials are compared on the validation split; each on the front
leaves its network, which is served as it is. The recipe at the front's knee is trained once more on Ray, unless
--no-confirm. The last line is a JSON object: search (its folder), trials, finished, stopped, failed, refused
(infeasible points), epochs (that were trained), front (recipe, network, objectives), knee, confirmed.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from raysplit import recipes
from raysplit.cli.command import run_command
from raysplit.config import SplitConfig, parse
from raysplit.config.search import SearchConfig
from raysplit.errors import ConfigError
from raysplit.hardware.link import get_link
from raysplit.hardware.machine import get_machine
from raysplit.search.space_file import find_space_file

if TYPE_CHECKING:
    from raysplit.folders.search_dir import SearchDir
    from raysplit.records.trial import TrialRecord

_DEFAULTS: dict[str, Any] = {
    "objectives": "accuracy,bytes,seconds",
    "trials": 20,
    "link": "wifi",
    "device": "pi4",
    "server": "server",
    "rate": None,
    "max_loss": 0.05,
    "seed": 0,
}
"""Of the arguments that decide a search; --resume allows none of them."""


def main(argv: list[str] | None = None) -> None:
    args = _make_parser().parse_args(argv)
    if args.concurrent is not None and args.concurrent < 1:
        raise ConfigError(f"--concurrent must be at least 1, got {args.concurrent}")
    search = _read_search(args)

    import ray

    from raysplit.search.results import find_front, format_commands, format_front, format_trial
    from raysplit.search.run import run_search
    from raysplit.utils.interrupts import Interrupts
    from raysplit.utils.progress import show_progress

    show_progress()

    def print_trial(trial: TrialRecord) -> None:
        print(format_trial(trial, search), flush=True)

    folder = _open_folder(args, search)
    with Interrupts(folder.location):
        refused = run_search(search, folder, args.concurrent, print_trial)
        trials = folder.trials()
        if len(trials) < search.trials:
            print(f"{len(trials)} of {search.trials} trials: no feasible point is left; {len(refused)} were refused")
        front = find_front(trials, search)
        print(format_front(front, search))
        print(f"knee: trial {front.knee.number}, {front.reason}")
        print(format_commands(front, search, folder))
        try:
            confirmed = None if args.no_confirm else _confirm(front.knee, search, folder)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(folder.location) from None  # the search's folder, not that of the knee's run
        ray.shutdown()
    states = [trial.state for trial in trials]
    result = {
        "search": folder.location,
        "trials": len(trials),
        **{state: states.count(state) for state in ("finished", "stopped", "failed")},
        "refused": len(refused),
        "epochs": sum(trial.trained for trial in trials),
        "front": [
            {
                "recipe": folder.recipe_file(trial),
                "network": folder.network(trial),
                **{name: trial.objectives[name] for name in search.objectives},
            }
            for trial in front.trials
        ],
        "knee": folder.recipe_file(front.knee),
        "confirmed": confirmed,
    }
    print(json.dumps(result))


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Search for cuts, levels or sub-models on Ray Tune.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--recipe", help="what trials start from: a name, path.py:function or a .json file")
    source.add_argument("--resume", metavar="DIR", help="continue a search")
    parser.add_argument("--space", help="tune_spaces.cut_and_level, tune_spaces.ensemble, or a Python file")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="settings of the recipe"
    )
    parser.add_argument("--objectives", help=f"default {_DEFAULTS['objectives']}")
    parser.add_argument("--trials", type=int, help=f"default {_DEFAULTS['trials']}")
    parser.add_argument("--link", help=f"wifi, lte, ethernet, iot, or a YAML file; default {_DEFAULTS['link']}")
    parser.add_argument("--device", help=f"pi4, jetson, mcu, or a YAML file; default {_DEFAULTS['device']}")
    parser.add_argument("--server", help=f"server, or a YAML file; default {_DEFAULTS['server']}")
    parser.add_argument("--rate", type=float, metavar="R", help="images per second that every part must sustain")
    parser.add_argument(
        "--max-loss",
        type=float,
        metavar="SHARE",
        help=f"accuracy that the knee may lose against the best trial; default {_DEFAULTS['max_loss']}",
    )
    parser.add_argument("--seed", type=int, help=f"of the sampler; default {_DEFAULTS['seed']}")
    parser.add_argument("--out", metavar="DIR", help="folder for the results; default: a new folder under storage")
    parser.add_argument("--concurrent", type=int, metavar="N", help="trials at a time; default: one per CPU")
    parser.add_argument("--no-confirm", action="store_true", help="do not train the knee's recipe on Ray")
    return parser


def _read_search(args: argparse.Namespace) -> SearchConfig:
    """Return the search that the arguments describe, or that of the folder to resume."""
    if args.resume is not None:
        own = ("set", "space", "out", *_DEFAULTS)
        if given := [f"--{name}" for name in own if getattr(args, name) not in (None, [])]:
            raise ConfigError(f"--resume continues with the search's own config; leave out {', '.join(given)}")

        from raysplit.folders.search_dir import SearchDir

        return SearchDir.at(args.resume).config()
    if not args.space:
        raise ConfigError("--space is missing; try --space tune_spaces.cut_and_level")
    find_space_file(args.space)
    recipe = recipes.get_any(args.recipe).with_settings(args.set)
    values = {name: default if (value := getattr(args, name)) is None else value for name, default in _DEFAULTS.items()}
    settings = values | {
        "recipe": recipe,
        "space": args.space,
        "objectives": tuple(values["objectives"].split(",")),
        "link": get_link(values["link"]),
        "device": get_machine(values["device"]),
        "server": get_machine(values["server"]),
    }
    return parse(SearchConfig, settings, "the search")


def _open_folder(args: argparse.Namespace, search: SearchConfig) -> SearchDir:
    """Return the folder to resume, the one that was asked for, or a new one under the recipe's storage."""
    from raysplit.folders.search_dir import SearchDir
    from raysplit.utils.storage import dated

    recipe = search.recipe
    storage = recipe.ray.storage if isinstance(recipe, SplitConfig) else recipe.storage
    return SearchDir.at(args.resume or args.out or f"{storage}/{dated(f'search_{recipe.name}')}")


def _confirm(knee: TrialRecord, search: SearchConfig, folder: SearchDir) -> dict[str, Any]:
    """Train the knee's recipe on Ray; return what it reached and whether that equals the trial.

    With one thread, like the trial: sums of floats depend on the number of threads.
    """
    from raysplit.ensemble.build import build_ensemble
    from raysplit.ensemble.ray_runner import RayRunner
    from raysplit.folders.run_dir import RunDir
    from raysplit.train.trainer import SplitTrainer

    recipe = type(search.recipe).model_validate_json(knee.recipe)
    if isinstance(recipe, SplitConfig):
        trainer = SplitTrainer(recipe.replaced(train=recipe.train.replaced(threads=1)))
        trainer.fit()
        summary = RunDir.at(trainer.run_dir).summary()
        assert summary is not None
        reached = {"accuracy": summary.val_accuracy, "bytes": summary.traffic}
        equal = all(knee.objectives.get(name, value) == value for name, value in reached.items())
        return {"run_dir": trainer.run_dir, **reached, "test_accuracy": summary.accuracy, "equal": equal}
    location = f"{folder.location}/confirmed/{knee.number:04}"
    return {"run_dir": location, "test_accuracy": build_ensemble(recipe, location, RayRunner()).accuracy}


if __name__ == "__main__":
    sys.exit(run_command(main))
