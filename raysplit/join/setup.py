"""The half of a joined device, from the config that came as JSON: with data and code that are here already."""

from __future__ import annotations

import hashlib
from pathlib import Path

from raysplit.config import SplitConfig, loads
from raysplit.errors import ConfigError
from raysplit.schedules import OWN_SCHEDULES
from raysplit.train.device_side import DeviceSide
from raysplit.train.remote_calls import Setup
from raysplit.train.threads import use_threads
from raysplit.train.user_files import name_user_files, use_copies


def build_side(setup: Setup, data: str, code: Path) -> DeviceSide:
    """Build a half by what the gateway sent; raises what building it raises.

    `data` is the device's own data set, `code` the folder in which a user's own files must be. Nothing that the gateway
    names is read from anywhere else.
    """
    config = take_over(setup, data, code)
    use_threads(config)
    return DeviceSide(config, setup.index)


def take_over(setup: Setup, data: str, code: Path) -> SplitConfig:
    """Return the config with this device's data and files; ConfigError for files that are missing or differ."""
    config = loads(SplitConfig, setup.config, "the run's config")
    if type(config.schedule) not in OWN_SCHEDULES:
        raise ConfigError("the run's config has a schedule that would run code here; the gateway is not raysplit's")
    if config.checkpoint.folder is not None:
        raise ConfigError(
            f"the run's config would write to '{config.checkpoint.folder}' here; set checkpoint.device to server"
        )
    copies = {}
    for key, path in name_user_files(config).items():
        copies[key] = _require_same(code / path.name, setup.files.get(key))
    devices = config.devices.replaced(
        source="cluster", inside=0, names=(), shards="iid", data=(data,) * config.devices.count
    )
    return use_copies(config.replaced(devices=devices), copies)


def _require_same(path: Path, sha256: str | None) -> Path:
    try:
        own = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        raise ConfigError(
            f"the run needs {path.name}, which is not in '{path.parent}'; copy it there: code does not cross"
        ) from None
    if own != sha256:
        raise ConfigError(
            f"'{path}' (sha256 {own[:12]}) is not the file of the run ({(sha256 or 'none')[:12]}); copy that one here"
        )
    return path
