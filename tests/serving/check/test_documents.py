"""YAML documents, and keys that are set twice."""

from __future__ import annotations

from raysplit.serving.check.documents import Document, read_documents


def test_documents_have_paths():
    assert read_documents("a: 1", "spec").documents == [Document("spec", {"a": 1})]
    several = read_documents("a: 1\n---\n- b\n---\n", "spec")
    assert several.documents == [
        Document("spec.documents[0]", {"a": 1}),
        Document("spec.documents[1]", ["b"]),
        Document("spec.documents[2]", None),
    ]
    assert several.findings == []


def test_duplicate_keys_at_every_depth():
    parsed = read_documents("a:\n- b: 1\n  c: 2\n  b: 3\nd: &x {e: 1, e: 2}\nf: *x\n1: a\n'1': b\n")
    assert [str(finding) for finding in parsed.findings] == [
        "a[0].b: is set twice, on lines 2 and 4; only the last one takes effect",
        "d.e: is set twice, on lines 5 and 5; only the last one takes effect",
    ]
    assert parsed.documents[0].value["a"] == [{"b": 3, "c": 2}]


def test_a_text_that_cannot_be_parsed():
    parsed = read_documents("a: [1\nb: 2\n", "spec")
    assert parsed.documents == [] and parsed.findings[0].path == "spec"
    assert parsed.findings[0].message.startswith("line 2, column ")
