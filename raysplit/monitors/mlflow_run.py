"""The record as a run of MLflow. Needs the extra `mlflow`."""

from __future__ import annotations

import json
import os
import posixpath
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from raysplit.monitors.base import MonitoredRun, numbers, totals
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import EpochRecord
from raysplit.records.summary import RunSummary
from raysplit.utils.storage import Folder

if TYPE_CHECKING:
    from mlflow import MlflowClient

URI = "MLFLOW_TRACKING_URI"
"""Environment variable with the address of a tracking server."""
_FILE = "monitors/mlflow.json"
_MOST = 500
"""Characters of a parameter, and parameters of a batch, that every server takes."""


class MlflowMonitor:
    """Logs each number of an epoch's row as a metric of one run, at the number of the epoch, from 1.

    Goes to the server in `MLFLOW_TRACKING_URI` or, without one, to `mlflow.db` beside the run's folder, in the
    experiment of the recipe's name. The settings are parameters. `monitors/mlflow.json` of the run's folder has the
    run's id: a run that goes on continues it, and logs no epoch twice.
    """

    _client: MlflowClient

    def begin(self, run: MonitoredRun) -> None:
        """Begin a run of MLflow or go on with the one that was begun; ConfigError for a run that is not local."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        uri = os.environ.get(URI) or f"sqlite:///{run.local_folder('mlflow').parent.parent}/mlflow.db"
        self._client = MlflowClient(tracking_uri=uri)
        folder = Folder.at(run.location)
        stored = folder.find(_FILE)
        if stored is not None:
            self._id = str(json.loads(stored)["run_id"])
            self._client.update_run(self._id, status="RUNNING")
        else:
            found = self._client.get_experiment_by_name(run.config.name)
            experiment = self._client.create_experiment(run.config.name) if found is None else found.experiment_id
            name = posixpath.basename(run.location)
            self._id = self._client.create_run(experiment, run_name=name).info.run_id
            folder.write(_FILE, json.dumps({"run_id": self._id, "tracking_uri": _without_password(uri)}).encode())
            settings = [Param(key, value) for key, value in _flatten(run.config.model_dump(mode="json"))]
            for first in range(0, len(settings), 100):
                self._client.log_batch(self._id, params=settings[first : first + 100])
        for record in run.records[self._count_logged() :]:
            self.epoch(record, [row for row in run.device_records if row.epoch.epoch == record.epoch])

    def epoch(self, record: EpochRecord, devices: Sequence[DeviceRecord]) -> None:
        """Log an epoch."""
        values = numbers(record)
        for one in devices:
            values |= {f"device_{one.device}/{name}": value for name, value in numbers(one.epoch).items()}
        self._log(values, record.epoch + 1)
        self._client.set_tag(self._id, "level", record.level)

    def end(self, summary: RunSummary | None) -> None:
        """Log the test accuracy and the sums of a run that has ended; end MLflow's, as killed where there are none."""
        if summary is not None:
            self._log(totals(summary), None)
        self._client.set_terminated(self._id, "KILLED" if summary is None else "FINISHED")

    def _count_logged(self) -> int:
        """Return how many epochs are there."""
        return max((int(metric.step) for metric in self._client.get_metric_history(self._id, "steps")), default=0)

    def _log(self, values: Mapping[str, float], step: int | None) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        metrics = [Metric(name, value, now, step or 0) for name, value in values.items()]
        # The count of steps goes last, by which an epoch counts as logged.
        metrics.sort(key=lambda metric: metric.key == "steps")
        for first in range(0, len(metrics), _MOST):
            self._client.log_batch(self._id, metrics=metrics[first : first + _MOST])


def _flatten(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)[:_MOST]


def _without_password(uri: str) -> str:
    scheme, found, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else uri
