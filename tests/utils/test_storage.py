from __future__ import annotations

import resource

import pytest

from raysplit.errors import ConfigError
from raysplit.utils.storage import Folder


def test_files(tmp_path):
    folder = Folder.at(str(tmp_path / "new"))
    assert folder.names() == [] and folder.find("a") is None and not folder.has("a")
    folder.write("a", b"1")
    folder.write("b/c", b"2")
    folder.write("a", b"3")
    assert folder.names() == ["a", "b"] and folder.find("a") == b"3" and folder.find("b/c") == b"2"
    assert folder.find("a/b") is None
    folder.delete("a")
    folder.delete("b")
    assert folder.names() == []


def test_locations(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Folder.at("~/x").path == Folder.at("~/x").location == f"{tmp_path}/x"
    uri = Folder.at(f"file://{tmp_path}/x/")
    assert uri.location == f"file://{tmp_path}/x" and uri.local == tmp_path / "x"
    with pytest.raises(ConfigError, match="'nowhere://x' is not a path or URI that pyarrow can open"):
        Folder.at("nowhere://x")


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=rf"cannot write a to '{tmp_path}/file': .*; choose another location"):
        Folder.at(str(tmp_path / "file")).write("a", b"")
    assert not list(tmp_path.glob("**/*.part"))


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    """Files may have 100 bytes, as a disk that fills up while one is written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        Folder.at(str(tmp_path)).write("small", b"1")
        with pytest.raises(ConfigError, match="cannot write large to .*; choose another location"):
            Folder.at(str(tmp_path)).write("large", bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=f"^'{tmp_path}/inner' cannot be read: .*check the path and its permissions$"):
        Folder.at(str(tmp_path)).find("inner")
    with pytest.raises(ConfigError, match=f"^'{tmp_path}/file' cannot be read: "):
        Folder.at(str(tmp_path / "file")).names()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ConfigError, match=f"^'{tmp_path}/loop' cannot be read: "):
        Folder.at(str(tmp_path)).find("loop")
