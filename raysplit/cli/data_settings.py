"""Settings of a data set alone, spelled as in a recipe: `data.label=fine_label`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from raysplit.errors import ConfigError

if TYPE_CHECKING:
    from raysplit.config import DataConfig


def read_data(data: DataConfig, settings: Iterable[str]) -> DataConfig:
    """Return a copy with `data.KEY=VALUE` settings applied; ConfigError for others, and as `with_settings`.

    >>> from raysplit.config import DataConfig
    >>> read_data(DataConfig(name="parquet:photos"), ["data.label=kind"]).label
    'kind'
    """
    from raysplit.utils.settings import with_settings

    settings = list(settings)
    if other := next((setting for setting in settings if not setting.startswith("data.")), None):
        raise ConfigError(f"setting '{other}' is none of the data; write data.KEY=VALUE, like data.label=fine_label")
    return with_settings(data, [setting.removeprefix("data.") for setting in settings], where="the data set")
