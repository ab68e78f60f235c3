from __future__ import annotations

import pytest

from raysplit.errors import ConfigError
from raysplit.utils.storage import Folder
from tests.full_disk import nearly_full


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
    folder = Folder.at(str(tmp_path))
    with nearly_full(100):
        folder.write("small", b"1")
        with pytest.raises(ConfigError, match="cannot write large to .*; choose another location"):
            folder.write("large", bytes(1000))
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


@pytest.mark.parametrize("large", ["a", "in/b", "c"])
def test_files_that_belong_together_are_all_written_or_none(tmp_path, large):
    folder, names = Folder.at(str(tmp_path)), ("a", "in/b", "c")
    folder.write_all(dict.fromkeys(names, b"old"))
    with nearly_full(100), pytest.raises(ConfigError, match=f"cannot write {large} to .*; choose another location"):
        folder.write_all({name: bytes(1000 if name == large else 10) for name in names})
    assert [folder.find(name) for name in names] == [b"old"] * 3
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c", "in"]
    folder.write_all(dict.fromkeys(names, b"new"))
    assert [folder.find(name) for name in names] == [b"new"] * 3


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
