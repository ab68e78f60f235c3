"""A run's folder: its record, weights and checkpoints, on any pyarrow file system.

    config.json  metrics.parquet  summary.json  device.safetensors  server.safetensors  levels/N.safetensors
    checkpoint_*/state.pt

Reports and benchmarks read only the first three.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save

from raysplit.config import SplitConfig, loads
from raysplit.errors import ConfigError
from raysplit.folders.reader import read_records, read_summary
from raysplit.records.epoch import EpochRecord
from raysplit.records.summary import RunSummary
from raysplit.utils.storage import Folder

STATE = "state.pt"


class RunDir(Folder):
    """One run's folder."""

    remedy = "set ray.storage"

    def read(self, name: str) -> bytes:
        """Return a file's content; ConfigError when this is not a run's folder."""
        data = self.find(name)
        if data is None:
            raise ConfigError(f"'{self.path}' is not a run directory: it has no {name}")
        return data

    def checkpoints(self) -> list[str]:
        """Return the names of complete checkpoints, oldest first."""
        names = [name for name in self.names() if name.startswith("checkpoint_")]
        return [name for name in names if self.has(f"{name}/{STATE}")]

    def config(self) -> SplitConfig:
        """Return the config that the run was started with."""
        return loads(SplitConfig, self.read("config.json").decode(), where=f"{self.path}/config.json")

    def records(self) -> list[EpochRecord]:
        """Return the epochs of `metrics.parquet`; ConfigError for a file that is damaged."""
        return read_records(self.read("metrics.parquet"), self.location)

    def summary(self) -> RunSummary | None:
        """Return `summary.json`, or None for a run that has not ended; ConfigError for a file that is damaged."""
        found = self.find("summary.json")
        return None if found is None else read_summary(found, self.location)

    def write_records(self, records: Sequence[EpochRecord]) -> None:
        """Write `metrics.parquet`, a row for each epoch."""
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([record.to_row() for record in records]), sink)
        self.write("metrics.parquet", sink.getvalue())

    def write_summary(self, summary: RunSummary) -> None:
        """Write `summary.json`: the run has ended."""
        self.write("summary.json", summary.model_dump_json(indent=2).encode())

    def write_weights(self, weights: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Write one safetensors file for each half, from its name and state dict."""
        for side, half in weights.items():
            self.write(f"{side}.safetensors", _pack(half))

    def write_level(self, index: int, weights: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Write both halves as they are at the end of level `index` (from 0), keys `device.*` and `server.*`."""
        self.write(
            level_file(index), _pack({f"{side}.{k}": v for side, half in weights.items() for k, v in half.items()})
        )


def level_file(index: int) -> str:
    """Return the name of the file with the model that was kept at the end of level `index`."""
    return f"levels/{index}.safetensors"


def _pack(tensors: Mapping[str, torch.Tensor]) -> bytes:
    return save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
