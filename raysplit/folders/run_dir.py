"""A run directory: record, weights and checkpoints, on any pyarrow file system.

    config.json  metrics.parquet  devices.parquet  summary.json
    device.safetensors (or device.json)  server.safetensors  head.safetensors  tail.safetensors
    levels/N.safetensors  family/  checkpoint_*/state.pt

Reports and benchmarks read only the first four files.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from raysplit.config import SplitConfig, loads
from raysplit.errors import ConfigError
from raysplit.folders.reader import NAME_A_RUN, read_device_records, read_records, read_summary
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import Cell, EpochRecord
from raysplit.records.summary import RunSummary
from raysplit.utils.storage import Folder

STATE = "state.pt"


class RunDir(Folder):
    """The directory of one run.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as path:
    ...     run_dir = RunDir.at(path)
    ...     run_dir.write_records([EpochRecord(epoch=0, level="c4·b4/b4", steps=72, val_accuracy=0.5)])
    ...     [record.val_accuracy for record in run_dir.records()], run_dir.summary()
    ([0.5], None)
    """

    remedy = "set ray.storage"

    def read(self, name: str) -> bytes:
        """Return a file's content; ConfigError if it is missing, as in a folder that is not a run directory."""
        data = self.find(name)
        if data is None:
            raise ConfigError(f"'{self.path}' is not a run directory: it has no {name}; {NAME_A_RUN}")
        return data

    def read_weights(self, name: str) -> dict[str, torch.Tensor]:
        """Return the tensors of a safetensors file; ConfigError where it is missing or damaged."""
        return unpack_weights(self.read(name), f"{self.location}/{name}")

    def checkpoints(self) -> list[str]:
        """Return the names of the complete checkpoints, oldest first."""
        names = [name for name in self.names() if name.startswith("checkpoint_")]
        return [name for name in names if self.has(f"{name}/{STATE}")]

    def config(self) -> SplitConfig:
        """Return the config of the run."""
        return loads(SplitConfig, self.read("config.json").decode(errors="replace"), where=f"{self.path}/config.json")

    def records(self) -> list[EpochRecord]:
        """Return the epochs of `metrics.parquet`; ConfigError if it is missing or damaged."""
        return read_records(self.read("metrics.parquet"), self.location)

    def device_records(self) -> list[DeviceRecord]:
        """Return the rows of `devices.parquet`, none for a run of one device; ConfigError if the file is damaged."""
        data = self.find("devices.parquet")
        return [] if data is None else read_device_records(data, self.location)

    def summary(self) -> RunSummary | None:
        """Return `summary.json`, or None for a run that is not finished; ConfigError if the file is damaged."""
        data = self.find("summary.json")
        return None if data is None else read_summary(data, self.location)

    def write_records(self, records: Sequence[EpochRecord]) -> None:
        """Write `metrics.parquet`, one row per epoch."""
        self.write("metrics.parquet", _to_parquet([record.to_row() for record in records]))

    def write_device_records(self, records: Sequence[DeviceRecord]) -> None:
        """Write `devices.parquet`, one row per epoch and device; nothing for a run of one device, which has no rows."""
        if records:
            self.write("devices.parquet", _to_parquet([record.to_row() for record in records]))

    def write_summary(self, summary: RunSummary) -> None:
        """Write `summary.json`, which marks the run as finished."""
        self.write("summary.json", summary.model_dump_json(indent=2).encode())

    def write_weights(self, weights: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Write one safetensors file per half; `weights` maps their names to their state dicts."""
        for side, half in weights.items():
            self.write(f"{side}.safetensors", _pack(half))

    def write_level(self, index: int, weights: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Write both halves as trained at the end of level `index` (from 0), with keys `device.*` and `server.*`."""
        self.write(
            level_file(index), _pack({f"{side}.{k}": v for side, half in weights.items() for k, v in half.items()})
        )


def _to_parquet(rows: list[dict[str, Cell]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def level_file(index: int) -> str:
    """Return the name of the file with the model of level `index` (from 0).

    >>> level_file(2)
    'levels/2.safetensors'
    """
    return f"levels/{index}.safetensors"


def unpack_weights(data: bytes, where: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file's content; ConfigError, which names the file, where it is damaged."""
    try:
        return load(data)
    except SafetensorError as err:
        raise ConfigError(f"{where} is damaged: {err}; restore the file") from None


def _pack(tensors: Mapping[str, torch.Tensor]) -> bytes:
    return save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
