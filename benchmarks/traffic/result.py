"""The files of a traffic benchmark: its runs, a line each, and the table and the plot that are made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from meta import RESULTS, meta, save

from raysplit.config import DataConfig
from raysplit.data.images import read_facts
from raysplit.data.parquet import parquet_part
from raysplit.data.parquet_files import find_files
from traffic.plot import plot
from traffic.presets import Preset
from traffic.store import RunStore
from traffic.table import Row, rows


class Result:
    """A preset's files below `results`, and the folder `work` of the runs that are not in them yet."""

    def __init__(self, preset: Preset, data: str | None, work: Path, results: Path = RESULTS):
        self.preset, self.data, self.work = preset, data, work
        self.store = RunStore(results / f"{preset.result}_runs.jsonl", work)
        self._results = results

    def write(self) -> tuple[list[Row], list[str]]:
        """Write all files from all runs; return the table, and the runs that are missing.

        Before the reference has run there is no table.
        """
        with FileLock(self.work / "result.lock"):
            configs = [
                self.preset.config(name, seed, self.data) for seed in self.preset.seeds for name in self.preset.rows
            ]
            runs, missing = self.store.collect(configs)
            self.store.write(runs)
            sizes = uploads(self.preset.config(self.preset.reference, 0, self.data).data)
            table = rows(runs, list(self.preset.rows), self.preset.reference, sizes)
            if table:
                about = meta(sorted({run.seed for run in runs})) | self._describe()
                save(self.preset.result, {"meta": about, "rows": table}, self._results)
                (self._results / f"{self.preset.result}.png").write_bytes(plot(table))
        return table, missing

    def _describe(self) -> dict[str, Any]:
        """Return what the rows have in common, in words."""
        config = self.preset.config(self.preset.reference, 0, self.data)
        model, train = config.model, config.train
        return {
            "model": f"{model.name} {model.args}, cut {config.cut}, {train.precision}, batch {train.batch_size}, "
            f"{train.optimizer} lr {train.lr}, {train.lr_schedule}, label smoothing {train.label_smoothing}",
            "subset": f"{config.data.train_rows} training images, {train.epochs} epochs, augmentation "
            f"{config.data.augment}; all test images",
            "notes": self.preset.notes,
        }


def uploads(data: DataConfig) -> Mapping[str, int]:
    """Return the bytes of the training images: as pixels, and as files of a data set that is stored in Parquet."""
    facts, name = read_facts(data), "raw images uploaded once"
    sizes = {f"{name}, uint8": facts.train_rows * math.prod(facts.shape)}
    if data.name.startswith("parquet:"):
        part = parquet_part(data, "train")
        stored = sum(len(row.image) for row in part.rows() if isinstance(row.image, bytes))
        path = Path(data.name.partition(":")[2]).expanduser()
        packed = sum(file.stat().st_size for file in find_files(path, data.splits).train)
        for kind, size in (("image files", stored), ("one Parquet file", packed)):
            sizes[f"{name}, {kind}"] = round(size * facts.train_rows / part.count)
    return sizes
