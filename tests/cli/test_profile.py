from __future__ import annotations

import json

import pytest

from raysplit.cli.main import main
from raysplit.config import DEFAULT_LEVEL


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
def test_a_malformed_shape(fail, text):
    assert f"--input '{text}' is not a shape" in fail("profile", "vgg11", "--input", text)


def test_an_unknown_model(fail):
    assert "resnet18" in fail("profile", "resnet81")
