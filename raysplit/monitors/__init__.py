"""Who is told of a run's epochs while it trains (docs/extending.md#monitors).

Monitor (what one does), CsvMonitor, TensorBoardMonitor, MlflowMonitor, and MonitorGroup, which tells those of a config.
"""

from raysplit.monitors.base import Monitor, MonitoredRun
from raysplit.monitors.csv_files import CsvMonitor
from raysplit.monitors.group import MonitorGroup, require_packages
from raysplit.monitors.mlflow_run import MlflowMonitor
from raysplit.monitors.tensorboard import TensorBoardMonitor

__all__ = [
    "CsvMonitor",
    "MlflowMonitor",
    "Monitor",
    "MonitorGroup",
    "MonitoredRun",
    "TensorBoardMonitor",
    "require_packages",
]
