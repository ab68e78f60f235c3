"""Which devices are where: settings of devices behind a gateway."""

from __future__ import annotations

import pytest

from raysplit import recipe
from raysplit.config import DevicesConfig, SplitConfig, loads
from raysplit.errors import ConfigError


def config(*settings: str) -> SplitConfig:
    return recipe("mnist5k_vgg11_deprune").with_settings(list(settings))


def test_the_settings_are_those_of_the_files():
    one = config("devices.from=gateway", "devices.count=3", "devices.join_timeout_s=5")
    assert one.devices.source == "gateway" and one.devices.on_cluster == 0
    assert '"from":"gateway"' in one.model_dump_json() and '"source"' not in one.model_dump_json()
    assert loads(SplitConfig, one.model_dump_json(), "it") == one


def test_names_and_data_say_how_many_there_are():
    assert config("devices.from=gateway", "devices.names=[attic, kitchen]").devices.count == 2
    mixed = config(
        "devices.from=gateway", "devices.names=[attic]", "devices.inside=2", "devices.data=['folder:a', 'folder:b']"
    )
    assert (mixed.devices.count, mixed.devices.on_cluster, mixed.devices.own_data) == (3, 2, True)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["devices.inside=1"], "inside and names are for devices behind a gateway; set from=gateway"),
        (["devices.names=[a, b]"], "inside and names are for devices behind a gateway"),
        (["devices.from=gateway", "devices.inside=1"], "inside=1 leaves none of count=1 devices outside"),
        (
            ["devices.from=gateway", "devices.count=3", "devices.inside=2"],
            "data names 0 data sets for 2 devices on the",
        ),
        (
            ["devices.from=gateway", "devices.count=2", "devices.data=['folder:a']"],
            "data names 1 data sets for 0 devices",
        ),
        (["devices.from=gateway", "devices.count=2", "devices.shards=dirichlet(1)"], "devices outside have their own"),
        (["devices.from=gateway", "devices.count=3", "devices.names=[a, b]"], "names has 2 names for 3 devices"),
        (["devices.from=gateway", "devices.names=[a, a]"], "names has 'a' twice"),
        (["devices.from=gatway"], "devices.from: Input should be 'cluster' or 'gateway'"),
        (["devices.form=gateway"], "unknown key 'form' in devices .setting devices.form.. Nearest: from"),
    ],
)
def test_what_does_not_fit(settings, text):
    with pytest.raises(ConfigError, match=text):
        config(*settings)


def test_either_name_in_python():
    assert DevicesConfig(source="gateway") == DevicesConfig.model_validate({"from": "gateway"})
