"""YAML by the kind of the field: text stays text, on every level of a file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from raysplit.errors import ConfigError
from raysplit.hardware.link import get_link
from raysplit.hardware.machine import get_machine, read_machines
from raysplit.utils.frozen import Frozen
from raysplit.utils.typed_yaml import read_as, read_setting


class Layer(Frozen):
    name: str
    width: int = 1


class Net(Frozen):
    layers: tuple[Layer, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    pair: tuple[int, str] = (0, "")
    freeze: tuple[str, ...] | None = None
    keep: Annotated[float, Field(gt=0)] | Literal["fit"] = 1.0
    rest: Any = None


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("layers: [{name: 1, width: 1}, {name: off}]", {"layers": [{"name": "1", "width": 1}, {"name": "off"}]}),
        ("tags: {a: 1e3, b: null}", {"tags": {"a": "1e3", "b": "null"}}),
        ("pair: [1, 1]", {"pair": [1, "1"]}),
        ("freeze: [1, no, ~]", {"freeze": ["1", "no", "~"]}),
        ("freeze: null", {"freeze": None}),
        ("keep: 5e-1", {"keep": 0.5}),
        ("keep: fit", {"keep": "fit"}),
        ("rest: [1e3, '1e3', no]", {"rest": [1000.0, "1e3", False]}),
        ("rest: {<<: {a: 1}, b: 2}", {"rest": {"a": 1, "b": 2}}),
        ("", None),
    ],
)
def test_trees(text, tree):
    assert read_as(text, Net) == tree


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zs", "Zl", "Zp", "Cs")), min_size=1))
def test_any_text_without_quotes_stays_as_it_is(text):
    if text[0] not in "'\"":
        assert read_setting(f"x={text}", text, str) == text


@pytest.mark.parametrize("text", ["'1", '"a" b', "'a': b: c"])
def test_quotes_that_do_not_close(text):
    with pytest.raises(ConfigError, match="is not YAML"):
        read_setting(f"x={text}", text, str)


def test_names_that_look_like_numbers_in_files(tmp_path):
    fields = "name: 1e3\nmemory_mib: 5e2\ngflops_per_s: 4\n"
    (tmp_path / "machine.yaml").write_text(fields)
    assert get_machine(str(tmp_path / "machine.yaml")).name == "1e3"
    (tmp_path / "devices.yaml").write_text("devices: [{name: 7, memory_mib: 5e2, gflops_per_s: 4}]")
    assert [machine.name for machine in read_machines(str(tmp_path / "devices.yaml"))] == ["7"]
    (tmp_path / "listed.yaml").write_text("- {name: yes, memory_mib: 5e2, gflops_per_s: 4}")
    assert [machine.name for machine in read_machines(str(tmp_path / "listed.yaml"))] == ["yes"]
    (tmp_path / "link.yaml").write_text(
        "name: 5\nup_bit_s: 1e6\ndown_bit_s: 10\nround_trip_s: 1e-3\nmessage_bytes: 0\n"
    )
    assert get_link(str(tmp_path / "link.yaml")).name == "5"
