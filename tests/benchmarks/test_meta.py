"""What every result says about how it came to be."""

from __future__ import annotations

import sys

import pytest


@pytest.mark.parametrize(
    ("word", "recorded"),
    [
        ("parquet:/data/sets/cifar10", "parquet:cifar10"),
        ("/bundles/vit", "vit"),
        ("parquet:data/cifar10", "parquet:data/cifar10"),
        ("--minutes", "--minutes"),
        ("localhost/redis", "localhost/redis"),
    ],
)
def test_a_command_has_no_folders_of_the_machine(monkeypatch, word, recorded):
    from meta import meta

    monkeypatch.setattr(sys, "argv", ["benchmarks/split_traffic.py", word])
    assert meta([0])["command"].endswith(f"split_traffic.py {recorded}")
