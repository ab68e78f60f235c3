"""The `raysplit` command, from arguments to output and exit codes."""

from __future__ import annotations

import json

import pytest

from raysplit.cli import main
from raysplit.config import DEFAULT_LEVEL
from raysplit.train.local import train_local
from tests.train.recipes import family_config, squeezed_config


def fault(capsys, *words: str) -> str:
    """Run a command that must fail; return its one line."""
    assert main(list(words)) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_profile_as_json(capsys):
    assert main(["profile", "vgg11", "--input", "3x32x32", "--classes", "10", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "vgg11" and found["input"] == "3x32x32"
    cut = next(cut for cut in found["cuts"] if cut["name"] == "features.7")
    assert cut["shape"] == [128, 8, 8] and cut["crossing_bytes_fp32"] == 4 * 128 * 64
    # 4 bits a value, two floats for the range, a header of 27 bytes and four dimensions: an upper bound.
    assert cut["crossing_bytes_default"] == 128 * 64 // 2 + 8 + 27 + 16 and not cut["exact"]
    total = {round(cut["device_gflops"] + cut["server_gflops"], 9) for cut in found["cuts"]}
    assert len(total) == 1
    for key in ("device_params", "server_params", "device_peak_bytes"):
        assert all(cut[key] > 0 for cut in found["cuts"])


def test_profile_as_a_table(capsys):
    assert main(["profile", "vgg11", "--input", "1x28x28"]) == 0
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith("vgg11, input 1x28x28: 35 cuts") and str(DEFAULT_LEVEL) in head
    assert len(rows) == 35 and len({len(row) for row in rows}) == 1
    assert any(row.startswith("features.7 ") and "128×7×7" in row for row in rows)


@pytest.mark.parametrize("text", ["32x32", "3x32xx", "3x0x32", "axbxc"])
def test_profile_of_a_shape_that_is_none(capsys, text):
    assert f"--input '{text}' is not a shape" in fault(capsys, "profile", "vgg11", "--input", text)


def test_profile_of_an_unknown_model(capsys):
    assert "resnet18" in fault(capsys, "profile", "resnet81")


def test_report(capsys, tmp_path):
    run = train_local(squeezed_config(), run_dir=str(tmp_path / "run"))["run_dir"]
    assert main(["report", run, "-o", str(tmp_path / "out.html")]) == 0
    printed = capsys.readouterr().out
    assert "digits_vgg11_squeezed" in printed
    assert (tmp_path / "out.html").exists() and len(list(tmp_path.glob("*.png"))) == 3


def test_report_on_a_family(capsys, tmp_path):
    run = train_local(family_config(), run_dir=str(tmp_path / "run"))["run_dir"]
    assert main(["report", run, "-o", str(tmp_path / "out.html")]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {level}  " in printed for level in ("all·b4/b4·zstd", "c4·b4/b4·zstd", "c2·b8/b8"))
    assert (tmp_path / "out-family.png").exists()


def test_report_on_something_else(capsys, tmp_path):
    assert "is not a run directory" in fault(capsys, "report", str(tmp_path))
