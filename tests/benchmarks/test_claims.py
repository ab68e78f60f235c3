"""The claims' page: verdicts that follow from numbers, from made-up results; and the committed page is not stale."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

META = {
    "command": "python benchmarks/split_traffic.py --data parquet:data/cifar10",
    "commit": "0123456789ab",
    "machine": "here",
    "seeds": [0, 1, 2],
    "subset": "45000 training images; all test images",
}
UNCOMPRESSED, TIGHT = "all·b32/b32", "c4·b16/b16"


def traffic_row(name: str, accuracy: float, mb: float, levels: list[str], **others) -> dict:
    row = {"name": name, "accuracy_mean": accuracy, "accuracy_std": 0.3, "seeds": 3, "frame_mb": mb, "levels": levels}
    less = {"times_less": 1000 / mb if mb else None, "times_less_than_upload": 30 / mb if mb else None}
    return row | less | {"mb_to_target": None, "epochs": 22, "commits": ["feedc0ffee00+changes"]} | others


def ensemble_row(name: str, accuracy: float, n: int = 10, **others) -> dict:
    row = {"name": name, "n": n, "accuracy_mean": accuracy, "accuracy_std": None, "seeds": 1, "below_full": 0.5}
    costs = {"mib_device_max": 0.1, "latency_ms_device_max": 1.0, "latency_ms_full_like": 4.0, "lost3": None}
    return row | costs | {"commits": ["abcdef012345"]} | others


@pytest.fixture
def read(tmp_path, scripts):
    """A function that writes results, given by name as rows and meta, and reads them."""
    from claims_page.results import read_results

    def written(**results):
        for name, (rows, meta) in results.items():
            (tmp_path / f"{name}.json").write_text(json.dumps({"meta": META | meta, "rows": rows}))
        return read_results(tmp_path)

    return written


def test_the_page_is_that_of_the_committed_results(scripts):
    from claims import PAGE
    from claims_page.page import page
    from claims_page.results import read_results

    assert PAGE.read_text() == page(read_results()), "docs/claims.md is stale: python benchmarks/claims.py"


def test_a_page_without_results_has_measured_nothing(read):
    from claims_page.page import page
    from claims_page.table import CLAIMS

    text = page(read())
    assert text.count("**not measured yet**\n") == len(CLAIMS)
    assert text.count("| not measured yet |") == len(CLAIMS) and "reached in" not in text and "missed in" not in text


def test_links_of_the_summary_lead_to_headings(scripts):
    from claims_page.page import anchor, page
    from claims_page.results import read_results

    text = page(read_results())
    headings = {anchor(title) for title in re.findall(r"^#+ (.*)$", text, re.M)}
    links = set(re.findall(r"\]\(#([^)]*)\)", text))
    assert len(links) > 10 and links <= headings
    root = Path(__file__).parents[2]
    assert all((root / "docs" / path).exists() for path in re.findall(r"\]\((\.\./[^)]*)\)", text))


@pytest.mark.parametrize(
    ("accuracy", "mb", "epochs", "verdict", "reason"),
    [
        (79.8, 240, 22, "reached", "traffic 4.17× (4 needed); accuracy lost 0.20 points (at most 0.3)"),
        (81.0, 250, 22, "reached", "traffic 4.00× (4 needed); accuracy lost −1.00 points (at most 0.3)"),
        (79.6, 240, 22, "missed", "accuracy lost 0.40 points (at most 0.3)"),
        (79.9, 260, 22, "missed", "traffic 3.85× (4 needed)"),
        (75.0, 500, 22, "missed", "traffic 2.00× (4 needed); accuracy lost 5.00 points (at most 0.3)"),
        (80.0, 240, 30, "not comparable", "epochs: 30 against 22"),
    ],
)
def test_less_traffic_at_no_loss(read, accuracy, mb, epochs, verdict, reason):
    from claims_page.traffic import traffic_at_no_loss

    reference = traffic_row("split fp32", 80.0, 1000, [UNCOMPRESSED])
    deprune = traffic_row("deprune, fp16", accuracy, mb, [TIGHT, UNCOMPRESSED], epochs=epochs)
    (found,) = traffic_at_no_loss(read(split_traffic=([reference, deprune], {})))
    assert (found.verdict.value, found.reason) == (verdict, reason)
    assert found.rows == "`deprune, fp16` against `split fp32`" and found.seeds == 3
    assert found.commits == ("feedc0ffee00+changes",)


def test_rows_are_compared_with_rows_of_their_own_treatment(read):
    from claims_page.traffic import gain_on_fixed, traffic_at_no_loss

    rows = [
        traffic_row("split fp32", 80.0, 1000, [UNCOMPRESSED]),
        traffic_row("bottleneck in paper mode, fp32", 70.0, 1000, [UNCOMPRESSED]),
        traffic_row("half as long", 60.0, 16, [TIGHT], epochs=11),
        traffic_row("fixed 4 channels", 68.0, 32, [TIGHT]),
        traffic_row("freeze and cache", 90.0, 1, [TIGHT], epochs=44),
        traffic_row("deprune in paper mode, fp16", 69.0, 300, [TIGHT, UNCOMPRESSED]),
        traffic_row("deprune, fp16", 73.0, 300, [TIGHT, "c8·b16/b16", UNCOMPRESSED]),
    ]
    results = read(split_traffic=(rows, {}))
    assert [found.rows for found in traffic_at_no_loss(results)] == [
        "`deprune in paper mode, fp16` against `bottleneck in paper mode, fp32`",
        "`deprune, fp16` against `split fp32`",
    ]
    (gain,) = gain_on_fixed(results)
    assert gain.rows == "`deprune, fp16` against `fixed 4 channels`" and gain.verdict.value == "reached"
    assert gain.figure == "+5.00 ± 0.24 points"


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"), [(200, 900, "reached"), (300, 900, "missed"), (None, 900, "missed")]
)
def test_bytes_until_the_same_accuracy(read, ours, theirs, verdict):
    from claims_page.traffic import traffic_until_target

    reference = traffic_row("split fp32", 80.0, 1000, [UNCOMPRESSED], mb_to_target=theirs)
    deprune = traffic_row("deprune", 80.0, 240, [TIGHT, UNCOMPRESSED], mb_to_target=ours)
    (found,) = traffic_until_target(read(split_traffic=([reference, deprune], {})))
    assert found.verdict.value == verdict


def test_a_reference_that_never_arrives_decides_nothing(read):
    from claims_page.traffic import traffic_until_target

    rows = [traffic_row("a", 70, 9, [UNCOMPRESSED]), traffic_row("deprune", 70, 5, [TIGHT, UNCOMPRESSED])]
    (found,) = traffic_until_target(read(split_traffic=(rows, {})))
    assert found.verdict.value == "not comparable" and found.reason == "`a` itself never comes within a point"


def test_levels_by_transfer(read):
    from claims_page.traffic import level_by_transfer

    levels = ["all·b4/b4", "c8·b4/b4", "c4·b4/b4"]
    rows = [
        traffic_row("prune: all·b4/b4", 80, 100, levels[:1], stage_epochs=24, epochs=24),
        traffic_row("prune: c8·b4/b4", 78, 110, levels[:2], stage_epochs=4, epochs=28),
        traffic_row("prune: c4·b4/b4", 76, 115, levels, stage_epochs=5, epochs=33),
        traffic_row("from scratch, 1/6 of the epochs: c8·b4/b4", 60, 3, levels[1:2], epochs=4),
        traffic_row("from scratch: c8·b4/b4", 78.4, 10, levels[1:2], epochs=24),
        traffic_row("from scratch: c4·b4/b4", 76, 10, levels[2:], epochs=24),
        traffic_row("4 bits", 80, 100, levels[:1], epochs=24),
    ]
    tight, tighter = level_by_transfer(read(split_traffic=(rows, {})))
    assert tight.rows == "`prune: c8·b4/b4` against `from scratch: c8·b4/b4`" and tight.verdict.value == "reached"
    assert tighter.verdict.value == "missed" and tighter.reason == "epochs 4.80× (6 needed)"


@pytest.mark.parametrize(
    ("alone", "verdict", "reason"),
    [
        (74.0, "missed", "accuracy lost at 64× less 0.40 points (at most 0.2)"),
        (75.5, "not comparable", "the device alone is only 4.5 points below `split fp32`"),
        (None, "not comparable", "the table has no row `device alone`"),
    ],
)
def test_a_thin_schedule_counts_where_the_server_is_needed(read, alone, verdict, reason):
    from claims_page.traffic import thin_schedule

    rows = [
        traffic_row("split fp32", 80.0, 1000, [UNCOMPRESSED]),
        traffic_row("raw images uploaded once, uint8", 80.0, 1, []),
        traffic_row("thin", 79.6, 15, ["c8·b4/b4"]),
        traffic_row("thinner", 79.0, 5, ["c2·b4/b4"]),
    ]
    rows += [traffic_row("device alone", alone, 0, [])] if alone else []
    (found,) = thin_schedule(64, 0.2)(read(split_traffic=(rows, {})))
    assert (found.verdict.value, found.reason) == (verdict, reason)
    assert found.rows == "`thin` against `split fp32`", "the best of those that are thin enough, and no upload"


def test_anchors_stand_beside_the_thinnest_row_of_each_table(read):
    from claims_page.page import page

    alone = traffic_row("device alone", 70.0, 0, [])
    first = [traffic_row("split fp32", 80.0, 1000, [UNCOMPRESSED]), traffic_row("thin", 79.6, 10, ["c8·b4/b4"]), alone]
    text = page(read(split_traffic=(first, {}), split_pretrained=(first[:1], {}), other_quick=(first, {})))
    anchors = [line for line in text.splitlines() if line.startswith(("| FedLite", "| BottleNet++"))]
    assert len(anchors) == 8 and not any("other_quick" in line for line in anchors)
    assert "100×, `thin` (`c8·b4/b4`)" in anchors[-1] and "10.0 below" in anchors[-1] and "(not said)" in anchors[-1]
    assert "1×, `split fp32`" in anchors[0] and "not measured" in anchors[0] and "(values)" in anchors[0]


@pytest.mark.parametrize(
    ("pair", "ratio", "verdict"),
    [
        ("fp32 sub-model against fp32 full", 30.0, "reached"),
        ("fp32 sub-model against fp32 full", 28.0, "missed"),
        ("bf16, both compiled (like for like)", 29.0, "reached"),
        ("bf16 sub-model against bf16 full (like for like)", 9.0, "missed"),
        ("bf16 sub-model against fp32 full", 40.0, "not comparable"),
        ("compiled fp32 sub-model against fp32 full", 40.0, "not comparable"),
    ],
)
def test_latency_counts_like_for_like(tmp_path, scripts, pair, ratio, verdict):
    from claims_page.ensembles import latency_of_a_device
    from claims_page.results import read_results

    latency = [{"pair": pair, "ms_full": 100.0, "ms_submodel": 100 / ratio, "ratio": ratio}]
    (tmp_path / "ensemble_geometry.json").write_text(json.dumps({"meta": META, "geometry": [], "latency": latency}))
    (found,) = latency_of_a_device(read_results(tmp_path))
    assert found.verdict.value == verdict and found.seeds is None


@pytest.mark.parametrize(
    ("model", "subset", "accuracy", "verdict", "reason"),
    [
        ("spiking_vgg9 {}", "48000 training images", 85.5, "reached", "accuracy 85.50 % (85.28 needed)"),
        ("spiking_vgg9 {}", "48000 training images", 84.0, "missed", "accuracy 84.00 % (85.28 needed)"),
        ("spiking_vgg9 {}", "5000 training images", 99.0, "not comparable", "training images: 5,000 against 50,000"),
        ("spiking_vgg9 {'width': 0.5}", "50,000 training images", 99.0, "not comparable", "network: "),
        ("spiking_vgg5 {}", "50000 training images", 99.0, "not comparable", "network: spiking_vgg5 {} against"),
    ],
)
def test_an_accuracy_counts_in_the_published_setting(read, model, subset, accuracy, verdict, reason):
    from claims_page.ensembles import EC_SNN_CIFAR10, ec_snn_accuracy

    rows = [ensemble_row("full", 90, n=1), ensemble_row("n=5", accuracy, n=5), ensemble_row("n=10", 90)]
    results = read(ensemble_snn_cifar10=(rows, {"model": model, "subset": subset}))
    (found,) = ec_snn_accuracy(results, "cifar10", EC_SNN_CIFAR10, ("spiking_vgg9",))
    assert found.verdict.value == verdict and found.reason.startswith(reason)
    assert ec_snn_accuracy(results, "gtzan", EC_SNN_CIFAR10) == []


def test_energy_is_measured_where_spikes_were_counted(read):
    from claims_page.ensembles import ec_snn_energy, ec_snn_latency

    counted = ensemble_row("n=10", 90, spikes_device_max=60.0, spikes_full=100.0)
    results = read(ensemble_snn_cifar10=([counted, ensemble_row("n=5", 90, n=5)], {"model": "spiking_vgg9 {}"}))
    (energy,) = ec_snn_energy(results)
    assert energy.verdict.value == "reached" and energy.figure == "40.0 % fewer (100 to 60 spikes)"
    assert [found.verdict.value for found in ec_snn_latency(results)] == ["reached", "reached"]


@pytest.mark.parametrize(
    ("cnn_images", "vit", "verdict"),
    [("45000", 91.0, "reached"), ("45000", 89.0, "missed"), ("10000", 91.0, "not comparable")],
)
def test_kinds_of_networks_are_compared_on_equal_data(read, cnn_images, vit, verdict):
    from claims_page.ensembles import accuracy_beside_base, beside_other_kinds

    base = ensemble_row("full", 92, n=1, mib_device_max=10.0)
    cnn = {"model": "vgg9 {}", "subset": f"{cnn_images} training images"}
    elsewhere = {"model": "vgg9 {}", "command": "python benchmarks/ensemble.py --data parquet:x/fashion"}
    results = read(
        ensemble_vit_cifar10=(
            [base, ensemble_row("n=10", vit), ensemble_row("n=2", vit, n=2, below_full=1.2)],
            {"model": "vit {}"},
        ),
        ensemble_cnn_cifar10=([base, ensemble_row("n=10", 90.0)], cnn),
        ensemble_cnn_fashion=([base, ensemble_row("n=10", 10.0)], elsewhere),
    )
    (found,) = beside_other_kinds(results)
    assert found.verdict.value == verdict
    assert [one.verdict.value for one in accuracy_beside_base(results)] == ["reached", "missed"]


@pytest.mark.parametrize(("ten", "lost3", "verdict"), [(80, 77.5, "reached"), (78, 77, "missed"), (80, 76, "missed")])
def test_ten_devices_against_one(read, ten, lost3, verdict):
    from claims_page.ensembles import what_splitting_pays_for

    names = ("n=10", "n=10, all classes each")
    rows = [ensemble_row("n=1", 74, n=1)] + [ensemble_row(name, ten, lost3=lost3) for name in names]
    found, _ = what_splitting_pays_for(read(ensemble_cnn_cifar10_devices=(rows, {"model": "vgg9 {}"})))
    assert found.verdict.value == verdict


def test_a_claim_in_short(read):
    from claims_page.traffic import traffic_at_no_loss
    from claims_page.verdict import in_short

    rows = [
        traffic_row("split fp32", 80.0, 1000, [UNCOMPRESSED]),
        traffic_row("deprune a", 80.0, 200, [TIGHT, UNCOMPRESSED]),
        traffic_row("deprune b", 70.0, 200, [TIGHT, UNCOMPRESSED]),
        traffic_row("deprune c", 70.0, 500, [TIGHT, UNCOMPRESSED]),
    ]
    assert in_short(traffic_at_no_loss(read(split_traffic=(rows, {})))) == "reached in 1 of 3, missed in 2 of 3"
