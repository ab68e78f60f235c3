"""Tables, plots and HTML pages, made from records alone: no Ray, no models, no torch."""

from raysplit.folders.reader import RunRecord, read_run
from raysplit.report.devices import describe_devices, device_table
from raysplit.report.ensemble import write_ensemble_report
from raysplit.report.page import write_report
from raysplit.report.table import family_table, format_runs

__all__ = [
    "RunRecord",
    "describe_devices",
    "device_table",
    "family_table",
    "format_runs",
    "read_run",
    "write_ensemble_report",
    "write_report",
]
