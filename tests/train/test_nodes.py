"""Which node each half is on, and when that is worth a line."""

from __future__ import annotations

import pytest

from raysplit.config import RayConfig
from raysplit.train.nodes import describe_shared_node

HERE, THERE = "pi (11111111)", "tower (22222222)"


def node(name, alive=True, **resources):
    host, number = name.split(" (")
    return {
        "NodeManagerHostname": host,
        "NodeID": number.rstrip(")") + "0" * 48,
        "Alive": alive,
        "Resources": {"CPU": 4.0, **resources},
    }


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ([node(HERE, device=1.0), node(THERE, device=1.0)], f"although {THERE} offers 'device' for the device half"),
        ([node(HERE, device=1.0), node(THERE, server=1.0)], f"although {THERE} offers 'server' for the server half"),
        ([node(HERE), node("pi (22222222)", device=2.0)], "although pi (22222222) offers 'device'"),
        ([node(HERE, device=1.0)], None),
        ([node(HERE, device=1.0), node(THERE)], None),
        ([node(HERE, device=1.0), node(THERE, alive=False, device=1.0)], None),
        ([node(HERE, device=1.0), node(THERE, device=0.0)], None),
    ],
)
def test_halves_that_share_a_node(nodes, text):
    found = describe_shared_node(RayConfig(), HERE, HERE, nodes)
    assert found is None if text is None else text in found and found.startswith(f"both halves run on {HERE}")
    assert describe_shared_node(RayConfig(), HERE, THERE, nodes) is None


def test_resources_of_other_names():
    config = RayConfig(device_resource="phone")
    nodes = [node(HERE, phone=1.0), node(THERE, phone=1.0)]
    assert "start one node with 'phone' alone" in describe_shared_node(config, HERE, HERE, nodes)
