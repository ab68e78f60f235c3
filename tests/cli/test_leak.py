from __future__ import annotations

import json

import pytest

from raysplit.cli.main import main


def test_a_picture_and_a_record(capsys, family, tmp_path):
    out = str(tmp_path / "out")
    words = ["leak", family._bundle.location, "--level", "c2.b8/b8", "c4.b4/b4.zstd", "--images", "64", "--epochs", "1"]
    assert main([*words, "-o", out]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [f"{out}/leak.png", f"{out}/leak.json"]
    assert any(line.startswith("nothing: the mean image ") for line in lines)
    record = json.loads((tmp_path / "out" / "leak.json").read_text())
    assert [level["level"] for level in record["levels"]] == ["c2·b8/b8", "c4·b4/b4·zstd"]
    assert record["blind"]["psnr"] > 0
    assert (tmp_path / "out" / "leak.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--level", "c3.b8/b8"], "has no level 'c3.b8/b8'. Nearest: "),
        (["--images", "0"], "--images must be at least 1, got 0"),
        (["--epochs", "-2"], "--epochs must be at least 1, got -2"),
        (["--shown", "0"], "--shown must be at least 1, got 0"),
    ],
)
def test_wrong_arguments(fail, family, tmp_path, words, expected):
    assert expected in fail("leak", family._bundle.location, *words, "-o", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_not_a_run(fail, bundle, tmp_path):
    (tmp_path / "photos").mkdir()
    assert f"'{tmp_path}/photos'" in fail("leak", str(tmp_path / "photos"))
    assert "ensemble" in fail("leak", bundle)
    assert f"'{tmp_path}/nothing'" in fail("leak", str(tmp_path / "nothing"))
