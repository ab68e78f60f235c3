"""Search for cuts, levels or sub-models on Ray Tune, and write the Pareto front with a recipe for each point on it.

    python jobs/search.py --space tune_spaces.cut_and_level --recipe mnist5k_vgg11_uncompressed --trials 12
    python jobs/search.py --space tune_spaces.ensemble --recipe mnist5k_vit_n3 --objectives accuracy,mib --trials 6
    python jobs/search.py --resume DIR

A stopped search goes on after the trials that had ended. Trials are chosen by the validation split; the recipe at the
front's knee is trained once more on Ray, unless --no-confirm. The last line is a JSON object: search (its folder),
trials, finished, stopped, failed, refused (points that cannot be), epochs (that were trained), front, knee, confirmed.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import ray

from raysplit import recipes
from raysplit.cli.command import command
from raysplit.config import SplitConfig, parse
from raysplit.ensemble.build import build_ensemble
from raysplit.ensemble.ray_runner import RayRunner
from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir
from raysplit.folders.search_dir import SearchDir, Trial, line, on_front, table
from raysplit.hardware.link import get_link
from raysplit.hardware.machine import get_machine
from raysplit.search.config import SearchConfig
from raysplit.search.run import search
from raysplit.train.trainer import SplitTrainer
from raysplit.utils.storage import Folder, dated

_DEFAULTS: dict[str, Any] = {
    "objectives": "accuracy,bytes,seconds",
    "trials": 20,
    "link": "wifi",
    "device": "pi4",
    "server": "server",
    "rate": None,
    "seed": 0,
}
"""Of the arguments that decide a search; with --resume none may be given."""


def main() -> None:
    args = _arguments().parse_args()
    config, place = _chosen(args)
    try:
        refused = search(config, place, args.concurrent, lambda trial: print(line(trial, config), flush=True))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(place.location) from None
    trials = place.trials()
    if len(trials) < config.trials:
        print(f"{len(trials)} of {config.trials} trials: no point is left that can be; {len(refused)} were refused")
    front, knee = on_front(trials, config)
    print(table(front, config, knee["number"]))
    print(f"knee: trial {knee['number']}, {knee['reason']}")
    confirmed = None if args.no_confirm else _confirmed(knee, config, place)
    ray.shutdown()
    states = [trial["state"] for trial in trials]
    told = {
        "search": place.location,
        "trials": len(trials),
        **{state: states.count(state) for state in ("finished", "stopped", "failed")},
        "refused": len(refused),
        "epochs": sum(trial["trained"] for trial in trials),
        "front": [
            {"recipe": place.recipe_file(trial), **{name: trial[name] for name in config.objectives}} for trial in front
        ],
        "knee": place.recipe_file(knee),
        "confirmed": confirmed,
    }
    print(json.dumps(told))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Search for cuts, levels or sub-models on Ray Tune.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--recipe", help="what trials start from: a name, path.py:function or a .json file")
    source.add_argument("--resume", metavar="DIR", help="go on with a search")
    parser.add_argument("--space", help="tune_spaces.cut_and_level, tune_spaces.ensemble, or a Python file")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--objectives", help=f"default {_DEFAULTS['objectives']}")
    parser.add_argument("--trials", type=int, help=f"default {_DEFAULTS['trials']}")
    parser.add_argument("--link", help=f"wifi, lte, ethernet, iot, or a YAML file; default {_DEFAULTS['link']}")
    parser.add_argument("--device", help=f"pi4, jetson, mcu, or a YAML file; default {_DEFAULTS['device']}")
    parser.add_argument("--server", help="server, or a YAML file")
    parser.add_argument("--rate", type=float, metavar="R", help="images per second that every part must keep up with")
    parser.add_argument("--seed", type=int, help="of the sampler")
    parser.add_argument("--out", metavar="DIR", help="where the search goes; default: a new folder under storage")
    parser.add_argument("--concurrent", type=int, metavar="N", help="trials at once; default: one for each CPU")
    parser.add_argument("--no-confirm", action="store_true", help="do not train the knee's recipe on Ray")
    return parser


def _chosen(args: argparse.Namespace) -> tuple[SearchConfig, SearchDir]:
    if args.resume:
        own = ("set", "space", "out", *_DEFAULTS)
        if given := [f"--{name}" for name in own if getattr(args, name) not in (None, [])]:
            raise ConfigError(f"--resume goes on with the search's own config; leave out {', '.join(given)}")
        place = SearchDir.at(args.resume)
        return place.search(), place
    if not args.space:
        raise ConfigError("--space is missing; try --space tune_spaces.cut_and_level")
    recipe = recipes.get_any(args.recipe).with_settings(args.set)
    asked = {name: value if (given := getattr(args, name)) is None else given for name, value in _DEFAULTS.items()}
    settings = asked | {
        "recipe": recipe,
        "space": args.space,
        "objectives": tuple(asked["objectives"].split(",")),
        "link": get_link(asked["link"]),
        "device": get_machine(asked["device"]),
        "server": get_machine(asked["server"]),
    }
    storage = recipe.ray.storage if isinstance(recipe, SplitConfig) else recipe.storage
    place = SearchDir.at(args.out or f"{storage}/{dated(f'search_{recipe.name}')}")
    return parse(SearchConfig, settings, "the search"), place


def _confirmed(knee: Trial, config: SearchConfig, place: SearchDir) -> dict[str, Any]:
    """Train the knee's recipe on Ray, and return what it came to and whether that is what its trial had.

    With one thread, as the trial: sums of floats depend on the number of threads.
    """
    recipe = type(config.recipe).model_validate_json(knee["recipe"])
    location = f"{place.location}/confirmed/{knee['number']:04}"
    if isinstance(recipe, SplitConfig):
        trainer = SplitTrainer(recipe.replaced(train=recipe.train.replaced(threads=1)))
        trainer.fit()
        summary = RunDir.at(trainer.run_dir).summary()
        assert summary is not None
        found = {"accuracy": summary.val_accuracy, "bytes": summary.traffic}
        equal = all(knee.get(name) in (None, value) for name, value in found.items())
        return {"run_dir": trainer.run_dir, **found, "test_accuracy": summary.accuracy, "equal": equal}
    done = build_ensemble(recipe, location, RayRunner())
    return {"run_dir": Folder.at(location).location, "test_accuracy": done.accuracy}


if __name__ == "__main__":
    sys.exit(command(main))
