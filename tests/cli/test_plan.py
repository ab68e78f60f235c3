from __future__ import annotations

import json

import pytest

from raysplit.cli.main import main


def test_plan_prints_a_table_or_json_and_writes_a_page(capsys, tmp_path):
    args = ["plan", "vgg5", "--data", "digits", "--device", "jetson", "--link", "lte", "--levels", "c4.b4/b4"]
    assert main([*args, "-o", str(tmp_path / "plan.html")]) == 0
    assert "← recommended" in capsys.readouterr().out
    assert "Where to cut vgg5" in (tmp_path / "plan.html").read_text()
    assert main([*args, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["link"]["name"] == "lte" and {row["level"] for row in found["rows"][2:]} == {"c4·b4/b4"}
    assert found["recommended"]["cut"] in found["verdict"] or found["recommended"]["level"] is None


def test_images_and_classes_by_hand(capsys):
    assert main(["plan", "vgg5", "--input", "1x16x16", "--classes", "3", "--levels", "all.b8/b8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shape"] == [1, 16, 16] and found["data"] == "images"
    assert main(["plan", "vgg5", "--data", "digits", "--size", "16", "--json", "--budget-ms", "1e9"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shape"] == [1, 16, 16] and found["recommended"]["level"] == "all·b32/b32"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (["--device", "pi5"], "Nearest: pi4"),
        (["--link", "wify"], "Nearest: wifi"),
        (["--levels", "c4"], "is not a level"),
        (["--rate", "0"], "--rate must be above 0, got 0"),
        (["--rate", "nan"], "--rate must be above 0, got nan"),
        (["--batch", "0"], "--batch must be at least 1, got 0"),
        (["--classes", "0"], "--classes must be at least 1, got 0"),
        (["--size", "-3"], "--size must be at least 1, got -3"),
        (["--budget-ms", "0"], "--budget-ms must be above 0, got 0"),
        (["--budget-ms", "nan"], "--budget-ms must be above 0, got nan"),
        (["--set", "data.label=x"], "label name columns and files of Parquet data, and name is 'digits'"),
        (["--set", "cut=1"], "setting 'cut=1' is none of the data"),
        (["--input", "3x32x32"], "--input stands in for the data; leave out --data"),
    ],
)
def test_arguments_that_are_refused(fail, wrong, text):
    assert text in fail("plan", "vgg5", "--data", "digits", *wrong)
