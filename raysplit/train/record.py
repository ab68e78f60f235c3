"""The run record: what a run leaves behind, on any pyarrow file system.

    config.json  metrics.parquet  summary.json  device.safetensors  server.safetensors  checkpoint_*/state.pt

Reports and benchmarks read only the first three.
"""

from __future__ import annotations

import io
import json
import posixpath
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyarrow import fs
from safetensors.torch import save

from raysplit.config import SplitConfig, loads
from raysplit.errors import ConfigError

STATE = "state.pt"


class RunDir:
    """One run's folder. A file is written whole or not at all."""

    def __init__(self, filesystem: fs.FileSystem, path: str, location: str):
        self._fs, self.path, self.location = filesystem, path, location

    @classmethod
    def at(cls, location: str) -> RunDir:
        """Open a folder by path or URI, which need not exist yet; ConfigError for a URI that nothing opens."""
        if "://" not in location:
            path = str(Path(location).expanduser().resolve())
            return cls(fs.LocalFileSystem(), path, path)
        try:
            filesystem, path = fs.FileSystem.from_uri(location)
        except (pa.ArrowException, OSError) as err:
            raise ConfigError(f"'{location}' is not a path or URI that pyarrow opens: {err}") from None
        return cls(filesystem, path, location.rstrip("/"))

    def write(self, name: str, data: bytes) -> None:
        """Write a file; ConfigError when the place cannot be written to."""
        target = posixpath.join(self.path, name)
        try:
            self._fs.create_dir(posixpath.dirname(target), recursive=True)
            with self._fs.open_output_stream(target + ".part") as out:
                out.write(data)
            self._fs.move(target + ".part", target)
        except OSError as err:
            raise ConfigError(f"cannot write {name} to '{self.location}': {err}; set ray.storage") from None

    def read(self, name: str) -> bytes:
        """Return a file's content; ConfigError when this is not a run's folder."""
        try:
            with self._fs.open_input_file(posixpath.join(self.path, name)) as file:
                return file.read()
        except FileNotFoundError:
            raise ConfigError(f"'{self.path}' is not a run directory: it has no {name}") from None

    def has(self, name: str) -> bool:
        return self._fs.get_file_info(posixpath.join(self.path, name)).type is not fs.FileType.NotFound

    def checkpoints(self) -> list[str]:
        """Return the names of complete checkpoints, oldest first."""
        found = self._fs.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        names = sorted(info.base_name for info in found if info.base_name.startswith("checkpoint_"))
        return [name for name in names if self.has(f"{name}/{STATE}")]

    def drop(self, name: str) -> None:
        self._fs.delete_dir(posixpath.join(self.path, name))

    def config(self) -> SplitConfig:
        """Return the config that the run was started with."""
        return loads(self.read("config.json").decode(), where=f"{self.path}/config.json")

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
            self.write(f"{side}.safetensors", save({k: v.cpu().contiguous() for k, v in half.items()}))
