"""Files that are there but wrong: cut off, empty, folders, keys twice. Each is one line that names it."""

from __future__ import annotations

import logging
import shutil

import pytest

from raysplit import recipes
from raysplit.cli.main import main
from raysplit.errors import BundleError, ConfigError, RaysplitError
from raysplit.family import load_family, write_family
from raysplit.folders.run_dir import RunDir
from raysplit.folders.search_dir import SearchDir
from raysplit.hardware.machine import read_machines
from raysplit.report import read_run
from raysplit.train.divergence import require_finite_run
from raysplit.train.local import train_local
from tests.train.recipes import squeezed_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("finished") / "run"
    train_local(squeezed_config(), str(place))
    return place


@pytest.fixture
def run(finished, tmp_path):
    """A run of one's own to damage."""
    return shutil.copytree(finished, tmp_path / "run")


READERS = {
    "report": lambda run: read_run(str(run)),
    "config": lambda run: RunDir.at(str(run)).config(),
    "summary": lambda run: RunDir.at(str(run)).summary(),
    "family": lambda run: write_family(str(run), f"{run}/again"),
    "resume": lambda run: require_finite_run(RunDir.at(str(run))),
    "load": lambda run: load_family(str(run)).server(load_family(str(run)).levels[0].level),
}
DAMAGE = {
    "cut off": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "binary": lambda data: b"\xff\xfe\x00",
    "other": lambda data: b"{}",
}


@pytest.mark.parametrize("damage", [*DAMAGE, "folder"])
@pytest.mark.parametrize(
    ("name", "readers"),
    [
        ("config.json", ("report", "config", "family", "resume")),
        ("metrics.parquet", ("report", "family")),
        ("summary.json", ("report", "summary", "family")),
        ("server.safetensors", ("family", "resume")),
        ("family/manifest.json", ("load",)),
        ("family/config.json", ("load",)),
        ("family/levels/0.safetensors", ("load",)),
    ],
)
def test_a_damaged_file_of_a_run_is_named(run, name, readers, damage):
    file = run / name
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(DAMAGE[damage](file.read_bytes()))
    for reader in readers:
        with pytest.raises(RaysplitError) as raised:
            READERS[reader](run)
        text = str(raised.value)
        assert file.name in text or (reader == "load" and isinstance(raised.value, BundleError)), (reader, text)
        assert "\n" not in text


def unfinish(run):
    (run / "summary.json").unlink()
    return sorted(run.glob("checkpoint_*/state.pt"))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"hello"])
def test_a_damaged_checkpoint_is_left_out_with_a_word(run, caplog, data):
    *_, newest = unfinish(run)
    newest.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        train_local(squeezed_config(), str(run))
    assert f"{newest.parent} is damaged and left out; training goes on from the one before it" in caplog.text


def test_a_run_without_a_readable_checkpoint_is_not_begun_again_over_its_record(run):
    before = (run / "metrics.parquet").read_bytes()
    for state in unfinish(run):
        state.write_bytes(b"")
    with pytest.raises(
        ConfigError, match=rf"no checkpoint of the run in '{run}' can be read .*; restore one, or begin"
    ):
        train_local(squeezed_config(), str(run))
    assert (run / "metrics.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "a", "name": "b"}', "the key 'name' is there twice; leave one out"),
        ('{"train": {"lr": 1, "epochs": 2, "lr": 2}}', "the key 'lr' is there twice; leave one out"),
        ('{"name": "a"', "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_a_recipe_file_that_says_a_thing_twice_or_not_at_all(tmp_path, text, message):
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(ConfigError, match=f"mine.json.*{message}"):
        recipes.get(str(tmp_path / "mine.json"))


def test_a_recipe_file_that_is_no_text(tmp_path):
    (tmp_path / "bytes.json").write_bytes(b'{"name": "\xff"}')
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ConfigError, match="bytes.json is not UTF-8 text"):
        recipes.get(str(tmp_path / "bytes.json"))
    with pytest.raises(ConfigError, match="folder.json cannot be read: Is a directory; give the path of a recipe"):
        recipes.get(str(tmp_path / "folder.json"))


def test_a_yaml_file_that_says_a_thing_twice(tmp_path):
    file = tmp_path / "devices.yaml"
    file.write_text("- {name: a, memory_mib: 1, gflops_per_s: 1}\n- name: b\n  memory_mib: 1\n  name: c\n")
    with pytest.raises(ConfigError, match=r"devices.yaml is not YAML: the key 'name' is there twice.* line 4"):
        read_machines(str(file))


def test_a_recipe_function_that_raises(tmp_path):
    (tmp_path / "mine.py").write_text("def one(): return 1 / 0\ndef two(x): return x\n")
    with pytest.raises(ConfigError, match="mine.py:one raised ZeroDivisionError: division by zero; a recipe is called"):
        recipes.get(f"{tmp_path}/mine.py:one")
    with pytest.raises(ConfigError, match="mine.py:two raised TypeError: .*'x'; a recipe is called without arguments"):
        recipes.get(f"{tmp_path}/mine.py:two")


def test_damaged_files_of_a_search(tmp_path):
    folder = SearchDir.at(str(tmp_path))
    folder.write("refused.json", b'[{"point"')
    with pytest.raises(ConfigError, match="refused.json is not JSON"):
        folder.refused()
    folder.write("refused.json", b'[{"point": 1}]')
    with pytest.raises(ConfigError, match="refused.json: 0.point"):
        folder.refused()
    folder.write("search.json", b"\xff\xfe")
    with pytest.raises(ConfigError, match="search.json is not JSON"):
        folder.config()


def test_a_name_that_is_no_text(tmp_path, capsys):
    assert main(["inspect", f"{tmp_path}/\udcff"]) == 1
    assert r"\udcff" in capsys.readouterr().err
