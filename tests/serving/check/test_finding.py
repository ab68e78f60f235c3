"""Findings and paths."""

from __future__ import annotations

from raysplit.serving.check.finding import Finding, as_mapping, join_path, list_mappings


def test_findings_print_their_path():
    assert str(Finding("a.b", "is wrong")) == "a.b: is wrong" and str(Finding("", "is empty")) == "is empty"


def test_paths():
    assert join_path("", "a", 0, "b", True) == "a[0].b.True"
    assert join_path("a") == "a" and join_path("", 0) == "[0]"


def test_values_of_the_wrong_type_are_left_out():
    assert as_mapping([1]) == {} and list_mappings({"a": 1}) == [] and list_mappings([3, {"a": 1}]) == [(1, {"a": 1})]
