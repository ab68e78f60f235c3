"""The run record: what a run leaves behind, on any pyarrow file system.

    config.json  metrics.parquet  summary.json  device.safetensors  server.safetensors  levels/N.safetensors
    checkpoint_*/state.pt

Reports and benchmarks read only the first three.
"""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save

from raysplit.config import SplitConfig, loads
from raysplit.errors import ConfigError
from raysplit.storage import Folder

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

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of `metrics.parquet`, one per epoch."""
        return pq.read_table(pa.BufferReader(self.read("metrics.parquet"))).to_pylist()

    def summary(self) -> dict[str, Any] | None:
        """Return `summary.json`, or None for a run that has not ended."""
        return json.loads(self.read("summary.json")) if self.has("summary.json") else None

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        self.write("metrics.parquet", sink.getvalue())

    def write_weights(self, weights: dict[str, dict[str, torch.Tensor]]) -> None:
        """Write one safetensors file for each half, from its name and state dict."""
        for side, half in weights.items():
            self.write(f"{side}.safetensors", _pack(half))

    def write_level(self, index: int, weights: dict[str, dict[str, torch.Tensor]]) -> None:
        """Write both halves as they are at the end of level `index` (from 0), keys `device.*` and `server.*`."""
        self.write(
            level_file(index), _pack({f"{side}.{k}": v for side, half in weights.items() for k, v in half.items()})
        )


def level_file(index: int) -> str:
    """Return the name of the file with the model that was kept at the end of level `index`."""
    return f"levels/{index}.safetensors"


def _pack(tensors: dict[str, torch.Tensor]) -> bytes:
    return save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
