import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raysplit.config import DevicesConfig
from raysplit.errors import ConfigError
from raysplit.folders.reader import read_run
from raysplit.folders.run_dir import RunDir
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import ByteCounts
from raysplit.report import describe_devices, device_table, write_report
from tests.report.cells import Cells
from tests.run_records import recorder


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    record = recorder(folder)
    write_report([record(kind, kind) for kind in ("deprune", "plain", "unfinished")], str(folder / "report.html"))
    return (folder / "report.html").read_text()


def test_files(three, tmp_path):
    out = tmp_path / "new" / "all.html"
    paths = write_report(three, str(out))
    stem = str(out.with_suffix(""))
    assert paths == [str(out), f"{stem}-accuracy-bytes.png", f"{stem}-epochs.png", f"{stem}-time.png"]
    assert sorted(map(str, out.parent.iterdir())) == sorted(paths)
    embedded = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^\"]+)", out.read_text())]
    assert embedded == [Path(path).read_bytes() for path in paths[1:]]
    assert all(image.startswith(b"\x89PNG") for image in embedded)


def test_uri(three, tmp_path):
    assert write_report(three[:1], f"file://{tmp_path}/a.html")[0] == f"{tmp_path}/a.html"
    assert "<title>Split training: mnist5k_deprune</title>" in (tmp_path / "a.html").read_text()


def test_numbers(page):
    rows = Cells(page).rows
    assert ["mnist5k_deprune", "91.3%", "1.26", "1.22", "504×", "1.14×", "12.0", "42.0", "6.00"] in rows
    assert ["mnist5k_unfinished", "60.0% (val, epoch 3 of 8)", *["–"] * 7] in rows
    # Bytes by kind: activations, labels, weights, headers up; gradients, weights, headers down; traffic; evaluation,
    # checkpoints.
    assert ["mnist5k_plain", "180", "0.014", "0", "0.026", "180", "0", "0.016", "360", "19.0", "0.40"] in rows
    assert ["mnist5k_unfinished", "0.36", "0.011", "0", "0.019", "0.36", "0", "0.012", "0.76", "0.036", "–"] in rows
    # Measured, wifi, lte, ethernet, iot: sums over six epochs, and over three of the unfinished run.
    assert ["mnist5k_deprune", "60.0", "66.0", "75.0", "60.0", "2,400"] in rows
    assert ["mnist5k_unfinished", "30.0", "33.0", "37.5", "30.0", "1,200"] in rows
    assert next(row for row in rows if "measured" in row)[:3] == [
        "run",
        "measured",
        "wifi\n50.0 / 50.0\n5.00 ms",
    ]
    epoch = ["5", "c16·b4/b4·zstd", "phase 2 of 2", "0.3000", "83.0%", "0.2500", "88.0%", "0.41", "0.40", "10.0"]
    assert epoch in rows
    assert "vgg11 cut at features.7, data set mnist5k, 3 of 8 epochs" in page
    assert "&quot;width&quot;: 0.5" in page


def test_a_record_without_predictions(record, tmp_path):
    path = record("old", "plain")
    metrics = Path(path) / "metrics.parquet"
    table = pq.read_table(metrics)
    pq.write_table(table.drop_columns([name for name in table.column_names if name.startswith("predicted")]), metrics)
    write_report([path], str(tmp_path / "r.html"))
    assert ["mnist5k_plain", "40.0", *["–"] * 4] in Cells((tmp_path / "r.html").read_text()).rows


def test_notes(page):
    notes = re.findall(r'<p class="note">(.*?)</p>', page)
    assert notes == [
        "Uploading the raw images once would have been cheaper than training: "
        "mnist5k_plain (2.82 MB vs. 360 MB, 0.0078×).",
        "mnist5k_unfinished is not finished: its record has 3 of 8 epochs.",
    ]


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ("validation", "is on the validation split: its data have no labelled test split."),
        ("train", "is on a fifth of the training split, held out: its data have no labelled test split."),
        ("test", None),
    ],
)
def test_what_the_accuracy_is_of(record, tmp_path, split, text):
    path = record("r", "deprune")
    file = Path(path) / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"test_from": split}))
    write_report([path], str(tmp_path / "r.html"))
    notes = re.findall(r'<p class="note">The test accuracy of (.*?)</p>', (tmp_path / "r.html").read_text())
    assert notes == ([f"mnist5k_deprune {text}"] if text else [])


def test_seeds(three, page, tmp_path):
    assert "One run each: how far runs of other seeds differ is not known. Accuracy is" in page
    write_report(three[:1], str(tmp_path / "one.html"))
    assert "One run: how far" in (tmp_path / "one.html").read_text()


def test_self_contained(page):
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<script" not in page and "$" not in page
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page


def test_escaped(record, tmp_path):
    name = '<script>alert("$title")</script>'
    write_report([record("<i>", "plain", name), record("b", "unfinished", name)], str(tmp_path / "r.html"))
    page = (tmp_path / "r.html").read_text()
    assert "<script" not in page and "<i>" not in page
    # Title, comparison, note, links, bytes, details, config: wherever the first run is named.
    assert page.count("&lt;script&gt;alert(&quot;$title&quot;)&lt;/script&gt; (&lt;i&gt;)") == 5
    Cells(page)


def test_nothing_to_report(three, tmp_path):
    out = str(tmp_path / "r.html")
    with pytest.raises(ConfigError, match=r"^no run to report on; name at least one run directory$"):
        write_report([], out)
    with pytest.raises(ConfigError, match=r"is not a run directory: it has no config.json"):
        write_report([*three, str(tmp_path)], out)
    assert not Path(out).exists()
    with pytest.raises(ConfigError, match=rf"'{tmp_path}' is a directory; .* for example {tmp_path}/report.html"):
        write_report(three, str(tmp_path))


def test_same_path_twice(three, tmp_path):
    write_report([three[0], three[0]], str(tmp_path / "r.html"))
    assert "<title>Split training: mnist5k_deprune</title>" in (tmp_path / "r.html").read_text()


def test_families(record, tmp_path):
    paths = [record("f", "family"), record("p", "plain")]
    written = write_report(paths, str(tmp_path / "r.html"))
    assert written[-1] == f"{tmp_path}/r-family.png"
    page = (tmp_path / "r.html").read_text()
    assert base64.b64encode(Path(written[-1]).read_bytes()).decode() in page
    rows = Cells(page).rows
    # 2 × 72 steps of 50 images: (400,000 + 3,600 + 6,400) / 3,600 bytes up, 404,000 / 3,600 down.
    assert ["mnist5k_family", "c16·b4/b4·zstd", "86.0%", "85.0%", "114", "112", "2", "20.0"] in rows
    assert ["mnist5k_family", "c4·b4/b4·zstd", "84.3%", "85.0%", "30.6", "28.9", "2", "20.0"] in rows
    assert len([row for row in rows if row[0] == "mnist5k_plain" and len(row) == 8 and row[1][0] in "ac"]) == 0


def test_without_families(page, tmp_path):
    assert "Families" not in page and not list(tmp_path.glob("*/*family*"))


def test_devices_side_by_side(record, tmp_path):
    path = record("deprune", "deprune")
    bytes_of = ByteCounts(up_activations=900_000, up_weights=100_000, down_gradients=400_000, down_weights=100_000)
    rows = [
        DeviceRecord(
            device=device,
            samples=100 * (device + 1),
            epoch=replace(epoch, level=level, bytes=bytes_of, val_accuracy=0.1 * (device + epoch.epoch)),
        )
        for epoch, level in zip(read_run(path).epochs[:2], ("c4·b4/b4", "c8·b4/b4"), strict=True)
        for device in ((0, 3) if epoch.epoch == 0 else (3,))
    ]
    RunDir.at(path).write_device_records(rows)
    write_report([path], str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert f"<h4>Devices</h4><p>{describe_devices(read_run(path).config.devices)}</p>" in page
    cells = Cells(page).rows
    assert ["0", "c4·b4/b4", "1", "100", "0.0%", "1.00", "0.50", "0.20", "0", "2.00", "1.00"] in cells
    assert ["3", "c4·b4/b4 → c8·b4/b4", "2", "800", "40.0%", "2.00", "1.00", "0.40", "0", "4.00", "2.00"] in cells
    assert device_table(read_run(path)).splitlines()[2].split()[:3] == ["0", "c4·b4/b4", "1"]


@pytest.mark.parametrize(
    ("devices", "text"),
    [
        ({"count": 4, "mode": "relay", "shards": "classes(2)"}, "4 devices, relay, shards classes(2)"),
        ({"count": 3, "per_round": 2, "batch_norm": "local"},
         "3 devices, splitfed_v2, shards iid, 2 in a round, batch norm local"),
        ({"data": ["folder:a", "folder:b"], "mode": "fedavg"}, "2 devices, fedavg, data of their own"),
    ],
)  # fmt: skip
def test_how_devices_train_in_words(devices, text):
    assert describe_devices(DevicesConfig.model_validate(devices)) == text


def test_a_run_of_one_device_has_no_table_of_devices(three, page):
    assert "Devices" not in page and not device_table(read_run(three[0]))


@pytest.mark.parametrize("data", [b"nonsense", b""])
def test_a_damaged_record_of_devices(record, data):
    path = record("deprune", "deprune")
    (Path(path) / "devices.parquet").write_bytes(data)
    with pytest.raises(ConfigError, match="devices.parquet in '.*' cannot be read: ArrowInvalid"):
        read_run(path)
