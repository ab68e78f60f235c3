import base64
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from raysplit.errors import ConfigError
from raysplit.folders.build_dir import BuildDir
from raysplit.report import write_ensemble_report
from tests.report.builds import build_record
from tests.report.cells import Cells


def page_of(path, **kinds):
    write_ensemble_report(build_record(path, **kinds))
    return (path / "report.html").read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("ten"))


def test_files(tmp_path):
    place = build_record(tmp_path)
    assert write_ensemble_report(place) == f"{tmp_path}/report.html"
    assert write_ensemble_report(f"file://{tmp_path}/") == f"file://{tmp_path}/report.html"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.json", "plan.json", "summary.json", "report.html"}


def test_headline(page):
    rows = Cells(page).rows
    assert rows[:2] == [
        ["base", "fused", "difference\nin points", "1 lost", "2 lost", "3 lost"],
        ["77.0%", "76.6%", "−0.4", "75.0%", "73.2%", "71.2%"],
    ]
    assert "<title>Ensemble: cifar10_vit_n10</title>" in page
    facts = re.search(r"<p>(.*?)</p>", page)[1]
    assert facts.startswith(
        "10 sub-models cut out of a Vision Transformer, vit(patch=4, width=192, depth=9, heads=12),"
    )
    assert "grouped by what the base confuses" in facts and "stored in bf16. Bundle 0123456789ab: /" in facts
    assert "the 10,000 test images" in page


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ("validation", "test images (the validation split), which"),
        ("train", "test images (a fifth of the training split, held out), which"),
        ("test", "the 10,000 test images, which"),
    ],
)
def test_what_the_accuracy_is_of(tmp_path, split, text):
    place = build_record(tmp_path)
    file = tmp_path / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"test_from": split}))
    write_ensemble_report(place)
    assert text in (tmp_path / "report.html").read_text()


def test_ratios_name_device_total_and_the_precision_of_the_base(page):
    rows = Cells(page).rows
    assert ["", "base", "most on\none device", "reduction", "all\ntogether", "reduction"] in rows
    # Of five devices the first two have three of the sub-models each, the last has none.
    for row in (
        ["parameters", "2,697,610", "330,000", "8.17×", "1,050,000", "2.57×"],
        ["MiB; base in fp32", "10.3", "0.60", "17.2×", "2.00", "5.15×"],
        ["MiB; base in bf16 too", "5.15", "0.60", "8.58×", "2.00", "2.58×"],
        ["GMAC", "0.18", "0.019", "9.00×", "0.065", "2.70×"],
        ["latency, ms; base in fp32", "7.50", "3.75", "2.00×", "12.5", "0.60×"],
        ["latency, ms; base in bf16 too", "5.00", "3.75", "1.33×", "12.5", "0.40×"],
        ["bytes sent per image; base: the raw image", "3,072", "384", "8.00×", "1,280", "2.40×"],
    ):
        assert row in rows


def test_int8_computes_in_bf16(tmp_path):
    names = [row[0] for row in Cells(page_of(tmp_path, precision="int8")).rows]
    assert "MiB; base in int8 too" in names and "latency, ms; base in bf16 too" in names


def test_spikes_of_a_spiking_network(tmp_path):
    place = build_record(tmp_path, n=3, devices=False)
    summary = json.loads((tmp_path / "summary.json").read_text()) | {"kind": "snn", "base_spikes": 9000.0}
    for index, part in enumerate(summary["submodels"]):
        part["spikes"] = 1000.0 * (index + 1)
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    write_ensemble_report(place)
    rows = Cells((tmp_path / "report.html").read_text()).rows
    assert ["spikes per image", "9,000", "3,000", "3.00×", "6,000", "1.50×"] in rows


def test_submodels(page):
    rows = Cells(page).rows
    assert ["3: cat", "3 of 12", "tablet", "110,000", "0.20", "0.0065", "1.25", "128", "81.0%"] in rows
    assert ["most on one device", "", "", "330,000", "0.60", "0.019", "3.75", "384", ""] in rows
    assert ["all together", "", "", "1,050,000", "2.00", "0.065", "12.5", "1,280", ""] in rows


def test_placement(page):
    rows = Cells(page).rows
    assert ["camera", "0, 4, 8", "0.60", "2.00", "30.0%", "78.0%", "2.00", "19.5"] in rows
    assert ["gateway", "2, 6", "0.40", "2.00", "20.0%", "–", "2.00", "13.0"] in rows
    assert ["drone", "–", "0", "2.00", "0.0%", "0.0%", "2.00", "0"] in rows
    assert "Energy is that of 1,000 images" in page


def test_stages(page):
    spent = dict(row for row in Cells(page).rows if len(row) == 2)
    # The 690 s of all sub-models have the 90 s of their scores in them.
    assert spent["train the base"] == "5,400" and spent["score and prune, all sub-models"] == "90.0"
    assert spent["retrain, all sub-models"] == "600" and spent["features and fusion"] == "45.0"


def test_without_devices_each_submodel_has_its_own(tmp_path):
    page = page_of(tmp_path, n=3, precision="fp32", devices=False)
    rows = Cells(page).rows
    assert "Placement" not in page and "on a device of its own" in page
    assert rows[0] == ["base", "fused", "difference\nin points", "1 lost", "2 lost"]
    assert ["MiB", "10.3", "0.40", "25.8×", "1.20", "8.58×"] in rows
    assert ["latency, ms", "7.50", "1.25", "6.00×", "3.75", "2.00×"] in rows
    assert ["0: airplane, cat, frog, truck", "2 of 12", "–"] in [row[:3] for row in rows]
    assert "(2 to 3 of 12 steps of the width)" in page


def test_one_submodel_has_all_classes_and_none_to_lose(tmp_path):
    rows = Cells(page_of(tmp_path, n=1)).rows
    assert rows[0] == ["base", "fused", "difference\nin points"]
    assert "0: all 10" in [row[0] for row in rows]


def test_self_contained(page):
    (image,) = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert Image.open(io.BytesIO(base64.b64decode(image))).width > 1000
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<script" not in page and "$" not in page
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page


def test_escaped(tmp_path):
    build_record(tmp_path)
    text, bad = (tmp_path / "summary.json").read_text(), "<script>$x^2$&"
    (tmp_path / "summary.json").write_text(text.replace("airplane", bad).replace("cifar10_vit_n10", bad))
    write_ensemble_report(str(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page and page.count("&lt;script&gt;$x^2$&amp;") == 3
    Cells(page)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "config.json",
            "'{}' is not a build's folder: it has no config.json; name the folder that jobs/build_ensemble.py printed",
        ),
        (
            "plan.json",
            "the build in '{0}' has not ended: it has no plan.json; "
            "continue it with python jobs/build_ensemble.py --resume {0}",
        ),
        (
            "summary.json",
            "the build in '{0}' has not ended: it has no summary.json; "
            "continue it with python jobs/build_ensemble.py --resume {0}",
        ),
    ],
)
def test_a_missing_record(name, message, tmp_path):
    place = build_record(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ConfigError) as caught:
        write_ensemble_report(place)
    assert str(caught.value) == message.format(place)
    assert not (tmp_path / "report.html").exists()


def test_a_damaged_record(tmp_path):
    place = build_record(tmp_path)
    (tmp_path / "summary.json").write_text('{"n": 3')
    with pytest.raises(ConfigError, match=rf"^summary.json in '{place}' is not JSON: "):
        write_ensemble_report(place)


def test_of_a_real_build(tiny_ensemble):
    write_ensemble_report(str(tiny_ensemble))
    rows = Cells((tiny_ensemble / "report.html").read_text()).rows
    summary = BuildDir.at(str(tiny_ensemble)).summary()
    assert f"{100 * summary.accuracy:.1f}%" in rows[1]
    placed = {row[0]: row[1] for row in rows if row[0] in ("phone", "camera")}
    assert sorted(", ".join(placed.values()).split(", ")) == ["0", "1", "2"]
    parts = summary.submodels
    assert placed["phone"] == ", ".join(str(i) for i, part in enumerate(parts) if part.device == "phone")
    assert [row[3] for row in rows if row[1:2] == ["2 of 3"]] == [f"{part.params:,}" for part in parts]


def test_a_common_net_is_named_and_timed(tmp_path):
    place = Path(build_record(tmp_path))
    for name, more in (("config", {"common": {"epochs": 5}}), ("summary", {"seconds": {"common": 75.0}})):
        tree = json.loads((place / f"{name}.json").read_text())
        for key, value in more.items():
            tree[key] = tree.get(key, {}) | value
        (place / f"{name}.json").write_text(json.dumps(tree))
    write_ensemble_report(str(place))
    page = (place / "report.html").read_text()
    assert "cut out of a common network of all classes (5 epochs), retrained for 10 epochs" in page
    assert ["train the common networks", "75.0"] in Cells(page).rows
