from __future__ import annotations

import pytest

from raysplit.cli.data_settings import read_data
from raysplit.config import DataConfig
from raysplit.errors import ConfigError


def test_settings_are_those_of_a_recipe():
    data = read_data(DataConfig(name="parquet:a"), ["data.image=photo", "data.splits={train: 'a-*'}", "data.size=16"])
    assert (data.image, data.size) == ("photo", 16) and data.splits is not None and data.splits.train == "a-*"


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("label=x", "setting 'label=x' is none of the data; write data.KEY=VALUE"),
        ("train.epochs=1", "setting 'train.epochs=1' is none of the data"),
        ("data.lable=x", "unknown key 'lable'"),
        ("data.unused_labels=skip", "the data set: unused_labels: Input should be 'keep' or 'drop'"),
    ],
)
def test_mistakes(setting, text):
    with pytest.raises(ConfigError) as err:
        read_data(DataConfig(name="parquet:a"), [setting])
    assert text in str(err.value)
