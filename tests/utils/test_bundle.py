from __future__ import annotations

import hashlib
import json

import pytest
from pyarrow import fs

from raysplit.errors import BundleError, ConfigError
from raysplit.utils import storage
from raysplit.utils.bundle import open_bundle, read_kind, write_bundle

FILES = {"a.bin": b"first", "deep/b.bin": bytes(range(256)) * 5000, "empty": b""}


@pytest.fixture
def path(tmp_path):
    return write_bundle(str(tmp_path / "bundle"), "test", {"answer": 42, "name": "é"}, FILES)


def test_what_was_written_is_read(path):
    bundle = open_bundle(path, "test")
    assert bundle.about == {"answer": 42, "name": "é"} and read_kind(path) == "test"
    assert {name: entry.bytes for name, entry in bundle.files.items()} == {n: len(data) for n, data in FILES.items()}
    assert {name: bundle.path(name).read_bytes() for name in FILES} == FILES
    with pytest.raises(BundleError, match=f"bundle '{path}' has no c.bin: its manifest.json does not list it"):
        bundle.path("c.bin")


def test_the_id_is_the_hash_of_the_manifest_however_it_is_laid_out(path, tmp_path):
    bundle = open_bundle(path, "test")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert bundle.id == hashlib.sha256(canonical).hexdigest()
    (tmp_path / "bundle" / "manifest.json").write_text(json.dumps(dict(reversed(manifest.items()))))
    assert open_bundle(path, "test").id == bundle.id
    other = write_bundle(str(tmp_path / "other"), "test", bundle.about, FILES | {"a.bin": b"other"})
    assert open_bundle(other, "test").id != bundle.id
    same = write_bundle(str(tmp_path / "same"), "test", bundle.about, FILES)
    assert open_bundle(same, "test").id == bundle.id


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(path, tmp_path, name):
    file = tmp_path / "bundle" / name
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    wrong = "is damaged: .* do not match the sha256 of the manifest.json"
    with pytest.raises(BundleError, match=f"^{name} of bundle '{path}' {wrong}, .*write the bundle again$"):
        open_bundle(path, "test")
    file.unlink()
    with pytest.raises(BundleError, match=f"^{name} of bundle '{path}' is missing; copy or write"):
        open_bundle(path, "test")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "Input should be a valid dictionary"),
        ("{}", "format: Field required; kind: Field required"),
        (
            '{"format": 1, "kind": "test", "about": {}, "files": {"a": "b"}}',
            "files.a: Input should be a valid dictionary",
        ),
        ('{"format": 1, "kind": "test", "about": {}, "files": []}', "files: Input should be a valid dictionary"),
    ],
)
def test_a_manifest_that_is_none(path, tmp_path, text, says):
    (tmp_path / "bundle" / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=f"^manifest.json in bundle '{path}' cannot be read \\({says}"):
        open_bundle(path, "test")
    assert read_kind(path) is None


def test_another_kind_or_format(path, tmp_path):
    with pytest.raises(
        BundleError, match=f"bundle '{path}' is of kind 'test', not 'toast'; name a bundle of kind 'toast'"
    ):
        open_bundle(path, "toast")
    manifest = tmp_path / "bundle" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(
        BundleError,
        match=f"bundle '{path}' is of format 2, but this version of raysplit reads format 1; use the version",
    ):
        open_bundle(path, "test")


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"^'.*nowhere' is not a bundle: it has no manifest.json"):
        open_bundle(str(tmp_path / "nowhere"), "test")
    with pytest.raises(ConfigError, match="'floppy://a' is not a path or URI"):
        open_bundle("floppy://a", "test")


def test_a_write_that_fails_leaves_no_bundle(path, tmp_path):
    """Not even the one that was there: its files may be gone."""
    with pytest.raises(ConfigError, match=r"cannot write a.bin/c to .*choose another location"):
        write_bundle(path, "test", {}, {"a.bin/c": b""})
    with pytest.raises(BundleError, match="is not a bundle"):
        open_bundle(path, "test")
    assert open_bundle(write_bundle(path, "test", {}, FILES), "test").about == {}


def test_a_bundle_on_another_file_system_is_copied_here(path, tmp_path, monkeypatch):
    far = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(storage, "locate", lambda location: (far, location.removeprefix("far://")))
    write_bundle("far://there", "test", {"far": True}, FILES)
    bundle = open_bundle("far://there", "test")
    assert {name: bundle.path(name).read_bytes() for name in FILES} == FILES
    assert tmp_path not in bundle.path("a.bin").parents and bundle.location == "far://there"


def test_uri(path):
    assert open_bundle(f"file://{path}", "test").id == open_bundle(path, "test").id


def select_a(about):
    assert about == {"answer": 42, "name": "é"}
    return ["a.bin", "not listed"]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_bundle_opened_for_some_files_needs_and_checks_no_others(path, tmp_path, scheme):
    whole = open_bundle(path, "test")
    (tmp_path / "bundle/deep/b.bin").unlink()
    (tmp_path / "bundle/empty").write_bytes(b"damaged")
    bundle = open_bundle(scheme + path, "test", select=select_a)
    assert bundle.id == whole.id and bundle.path("a.bin").read_bytes() == b"first"
    with pytest.raises(BundleError, match=r"was opened without deep/b.bin; open it with this file"):
        bundle.path("deep/b.bin")
    (tmp_path / "bundle/a.bin").unlink()
    with pytest.raises(BundleError, match=r"a.bin of bundle .* is missing"):
        open_bundle(path, "test", select=select_a)


def test_some_files_of_a_bundle_on_another_file_system_are_copied_here(path, tmp_path, monkeypatch):
    far = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(storage, "locate", lambda location: (far, location.removeprefix("far://")))
    bundle = open_bundle("far://bundle", "test", select=lambda _: ["deep/b.bin"])
    assert bundle.path("deep/b.bin").read_bytes() == FILES["deep/b.bin"]
    assert [child.name for child in bundle.path("deep/b.bin").parents[1].iterdir()] == ["deep"]
