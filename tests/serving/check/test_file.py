"""Files: which are configs, and which cannot be read."""

from __future__ import annotations

import sys

import pytest
import ray

from raysplit.serving.check import check_file
from tests.serving.check.configs import ENSEMBLE, SHIPPED, findings_in


@pytest.mark.parametrize("name", ["ensemble.yaml", "split.yaml"])
def test_shipped_configs_are_valid(name, workdir):
    path = list(sys.path)
    assert check_file(str(SHIPPED / name)) == []
    assert not ray.is_initialized() and sys.path == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing\n---\n", "is empty"),
        ("- a\n- b\n", "must be a mapping of keys, not ['a', 'b']"),
        ("http_options:\n  port: [1\nx: 2\n", "line 3, column 2: "),
        ("a: b: c\n", "line 1, column 5: mapping values are not allowed here"),
        ("a: !env KEY\n", "line 1, column 4: could not determine a constructor for the tag '!env'"),
        ("a: 2001-02-30\n", "day"),
        ("a: \x00", "special characters are not allowed"),
        ("http_options: 3\napplications: []\n", "http_options: Input should be a valid dictionary"),
        ("b: &x [*x]\n", "b: unknown key"),
        (b"a: \xff", "is not UTF-8 text"),
        (ENSEMBLE + "---\n" + ENSEMBLE, "has 2 documents, but Serve takes one"),
        (ENSEMBLE + "---\n", "has 2 documents, but Serve takes one"),
        ("import_path: a:b\n", "import_path: unknown key. It belongs in applications."),
    ],
)
def test_invalid_files(text, message, workdir):
    assert message in "\n".join(findings_in(text))


def test_a_missing_file(workdir):
    assert [str(finding) for finding in check_file("none.yaml")] == ["cannot be read: No such file or directory"]
