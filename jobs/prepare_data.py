"""Write a data set to DIR/train.parquet and DIR/test.parquet, to carry it to machines without internet.

    python jobs/prepare_data.py --data cifar10 --out cifar10_parquet

    python jobs/prepare_data.py --data parquet:photos --set data.label=fine_label --out photos_parquet

    python jobs/prepare_data.py --data audio:speech_commands_v0.02 --out speech_parquet

Use it as data.name=parquet:DIR, and recordings with data.audio={}: they are stored as they are, with the official lists
of Speech Commands or GTZAN where they lie beside the class folders, else with a fifth of the speakers or songs as the
test split; a validation list becomes DIR/validation.parquet.

The last line on stdout is a JSON object: data, out, train_rows, test_rows, validation_rows (where there is that file),
test_from (the split that became test.parquet: test, validation, or train where a fifth of it was held out), classes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from raysplit.cli.command import run_command
from raysplit.cli.data_settings import read_data
from raysplit.config import DataConfig, parse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write a data set to DIR/train.parquet and DIR/test.parquet.")
    parser.add_argument("--data", required=True, metavar="NAME", help="catalogue name, folder:, parquet: or audio:PATH")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="data.KEY=VALUE", help="settings of it"
    )
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--size", type=int, help="height and width in pixels to resize to")
    parser.add_argument("--channels", type=int, choices=(1, 3), help="1: grey, 3: RGB")
    parser.add_argument("--root", help="where downloads are kept, or imagenet100 lies")
    args = parser.parse_args(argv)
    settings = {"name": args.data, "root": args.root, "size": args.size, "channels": args.channels}
    config = read_data(parse(DataConfig, settings, where="the data set"), args.set)

    if config.audio is not None:
        from raysplit.data import export_recordings

        written = export_recordings(config, Path(args.out))
        counts = {f"{split}_rows": count for split, count in written.rows.items()}
        answer = {"data": args.data, "out": args.out, **counts, "test_from": written.test_from}
        print(json.dumps(answer | {"classes": written.classes}))
        return

    from raysplit.data import export_all

    train, test = export_all(config, Path(args.out))
    rows = {"train_rows": len(train.labels), "test_rows": len(test.labels), "test_from": test.taken_from}
    print(json.dumps({"data": args.data, "out": args.out, **rows, "classes": train.classes}))


if __name__ == "__main__":
    sys.exit(run_command(main))
