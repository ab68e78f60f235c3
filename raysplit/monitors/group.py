"""All monitors of a run. One that fails is left out from then on; it neither ends the run nor takes its record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from raysplit.config import SplitConfig
from raysplit.config.monitors import METHODS, MonitorSource, describe_monitor
from raysplit.errors import ConfigError, MissingExtra, RaysplitError
from raysplit.monitors.base import Monitor, MonitoredRun
from raysplit.monitors.csv_files import CsvMonitor
from raysplit.monitors.mlflow_run import MlflowMonitor
from raysplit.monitors.tensorboard import TensorBoardMonitor
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import EpochRecord
from raysplit.records.summary import RunSummary
from raysplit.utils.user_code import ObjectRecord, UserClass

_NAMED: dict[str, Callable[[], Monitor]] = {
    "csv": CsvMonitor,
    "tensorboard": TensorBoardMonitor,
    "mlflow": MlflowMonitor,
}
_log = logging.getLogger(__name__)


def require_packages(config: SplitConfig) -> None:
    """Raise MissingExtra, before anything is trained, for a monitor whose package is not installed.

    >>> from raysplit import recipe
    >>> require_packages(recipe("mnist5k_vgg11_deprune").replaced(monitors=["csv"]))
    """
    for name in config.monitors:
        if name in ("tensorboard", "mlflow") and find_spec(str(name)) is None:
            raise MissingExtra.of(str(name), str(name), f"the monitor {name}")


class MonitorGroup:
    """Tells the monitors of a config in their order.

    Raises what loading a user's class raises, MissingExtra, and ConfigError for an object that was in memory only.

    >>> from raysplit import read_run
    >>> run = read_run("run")
    >>> group = MonitorGroup(run.config.replaced(monitors=["csv"]))
    >>> group.begin(MonitoredRun("run", run.config))
    >>> group.epoch(run.epochs[0], ())
    >>> group.end(run.summary)
    """

    def __init__(self, config: SplitConfig):
        require_packages(config)
        self._monitors = [(describe_monitor(source), _make(source)) for source in config.monitors]
        self._failed: dict[str, str] = {}

    def begin(self, run: MonitoredRun) -> None:
        """Tell that a run begins. A monitor that fails at the start of a new run ends it with a ConfigError.

        Of a run that goes on, it is left out with a warning, as one that fails later is.
        """
        for name, monitor in list(self._monitors):
            try:
                monitor.begin(run)
            except Exception as err:  # it may raise anything
                if not run.records:
                    raise ConfigError(
                        f"the monitor {name} cannot begin: {_describe(err)}; mend it, or leave it out of monitors"
                    ) from err
                self._drop(name, monitor, "at the start", err)

    def epoch(self, record: EpochRecord, devices: Sequence[DeviceRecord]) -> None:
        """Tell of an epoch."""
        self._tell(f"in epoch {record.epoch + 1}", lambda monitor: monitor.epoch(record, devices))

    def end(self, summary: RunSummary | None) -> None:
        """Tell that the run has ended, or None where it was stopped; name the monitors that were left out."""
        self._tell("at the end", lambda monitor: monitor.end(summary))
        for name, when in self._failed.items():
            _log.warning(f"the monitor {name} failed {when} and was told nothing from then on; the record is whole")

    def _tell(self, when: str, call: Callable[[Monitor], None]) -> None:
        for name, monitor in list(self._monitors):
            try:
                call(monitor)
            except Exception as err:  # it may raise anything, and the run goes on
                self._drop(name, monitor, when, err)

    def _drop(self, name: str, monitor: Monitor, when: str, err: Exception) -> None:
        _log.warning(f"the monitor {name} failed {when} and is left out from now on: {_describe(err)}", exc_info=err)
        self._monitors.remove((name, monitor))
        self._failed[name] = when


def _make(source: MonitorSource) -> Monitor:
    if isinstance(source, str):
        return _NAMED[source]()
    if isinstance(source, ObjectRecord):
        raise source.lost("monitors")
    if not isinstance(source, UserClass):
        monitor: Monitor = source  # type: ignore[assignment]
        return monitor
    own: Monitor = source.create()
    if missing := [name for name in METHODS if not callable(getattr(own, name, None))]:
        raise ConfigError(f"monitor {source.target} has no method {', '.join(missing)}")
    return own


def _describe(err: Exception) -> str:
    text = " ".join(str(err).split())
    return text if isinstance(err, RaysplitError) else f"{type(err).__name__}: {text}"
