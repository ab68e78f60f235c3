"""The ensemble benchmark: rows that cost alike, one shared base, a table of tiny builds; the score's comparison."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from raysplit.errors import ConfigError


@pytest.fixture(scope="module")
def study(tmp_path_factory, scripts):
    """A study of a preset of this test's own: ViTs of two blocks that see each digit a few times."""
    import ensemble
    from ensembles import presets
    from ensembles.presets import Scale

    from raysplit.config import ModelConfig

    model = ModelConfig(name="vit", args={"patch": 4, "width": 24, "depth": 2, "heads": 6})
    epochs = {"base_epochs": 2, "retrain_epochs": 2, "common_epochs": 1}
    scale = Scale(model, images=300, batch_size=64, views=1, keep=2 / 6, retrain_batch=64, **epochs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "tiny", {"vit": scale})
        yield ensemble.Study("vit", "digits", "tiny", tmp_path_factory.mktemp("work"))


def test_baselines_cost_what_ten_submodels_cost(study):
    from ensembles.presets import start
    from ensembles.rows import ROWS, epoch_gmac, plan_of

    from raysplit.data import load

    ten = start("vit", "digits", "tiny", 0)
    ten = ten.replaced(retrain=ten.retrain.replaced(epochs=20))
    total = sum(spec.flops for spec in plan_of(ten).submodels)
    common = ten.common.epochs * total / 20e9 * len(load(ten.data, "train").labels)  # one of ten, on all images
    budget = common + ten.retrain.epochs * epoch_gmac(ten, plan_of(ten))
    rows = ("one small net of equal total cost", "n=10 without class split", "n=1")
    one, alike, single = (ROWS[name](ten) for name in rows)
    (spec,) = plan_of(one).submodels
    assert spec.classes == tuple(range(10)) and not spec.rest
    others = [plan_of(one.replaced(prune=one.prune.replaced(keep=k / 6))).submodels[0].flops for k in range(1, 7)]
    assert abs(spec.flops - total) == min(abs(flops - total) for flops in others)
    assert sum(spec.flops for spec in plan_of(alike).submodels) == pytest.approx(total, rel=0.01)
    (small,) = plan_of(single).submodels
    each = ROWS["n=10, all classes each"](ten)
    assert each.retrain == single.retrain and {spec.flops for spec in plan_of(each).submodels} == {small.flops}
    assert small.k == plan_of(ten).submodels[0].k and small.classes == tuple(range(10)) and not small.rest
    for config in (one, alike, single):
        epoch = epoch_gmac(config, plan_of(config))
        assert config.retrain.epochs > 1 and abs(config.retrain.epochs * epoch - budget) <= epoch / 2


@pytest.mark.slow
def test_rows_share_a_base_and_make_a_table(study):
    from ensembles.plot import plot
    from ensembles.table import figures, rows, text

    names = ["n=2", "n=10", "n=10, no feature dropout", "n=10, int8"]
    for name in reversed(names):  # rows that take another's sub-models come first
        study.build(name, 0)
    base = (study.place("base", 0) / "base/model.safetensors").read_bytes()
    places = {name: [study.place(name, 0)] for name in names}
    for (place,) in places.values():
        assert (place / "base/model.safetensors").read_bytes() == base
        assert json.loads((place / "meta.json").read_text())["seeds"] == [0]
    common = [next(study.place(name, 0).glob("common/*/record.json")).read_bytes() for name in names[:3]]
    assert common[0] == common[1] == common[2], "trained once: its seconds are the same"
    files = [study.place(name, 0) / "submodels/3/model.safetensors" for name in names[1:]]
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()
    table = rows([figures(place, name, 0) for name, (place,) in places.items()], names)
    assert [row["name"] for row in table] == ["full", *names] and all(row["seeds"] == 1 for row in table)
    full, two, ten, _, small = table
    assert full["lost1"] is None and full["build_seconds"] > 0 and full["latency_ms_full"] > 0
    assert two["lost2"] is None and 0 <= two["lost1"] <= 100 and two["retrain_epochs"] == 2
    assert ten["below_full"] == pytest.approx(full["accuracy_mean"] - ten["accuracy_mean"])
    assert ten["kept"] == "2/6" and ten["gmac_device_max"] < full["gmac_total"]
    assert small["mib_total"] < ten["mib_total"] and small["gmac_total"] == ten["gmac_total"]
    assert len(text(table).splitlines()) == 1 + len(table) + 3
    assert plot(table, study.title).startswith(b"\x89PNG")


def test_latencies_are_measured_anew_in_turns(study):
    from ensembles.table import figures
    from ensembles.times import measure

    names = ["n=2", "n=10"]
    for name in names:
        study.build(name, 0)
    places = [study.place(name, 0) for name in names]
    before = [figures(place, name, 0) for place, name in zip(places, names, strict=True)]
    measure(places, rounds=3)
    after = [figures(place, name, 0) for place, name in zip(places, names, strict=True)]
    assert before[0]["base_latency_ms"] != before[1]["base_latency_ms"], "each build has measured the base"
    assert after[0]["base_latency_ms"] == after[1]["base_latency_ms"] > 0, "one run has measured it once"
    for old, new in zip(before, after, strict=True):
        assert {key for key in old if old[key] != new[key]} == {key for key in old if "latency" in key}
        assert new["latency_ms_device_max"] <= new["latency_ms_total"] <= new["n"] * new["latency_ms_device_max"]


def test_what_is_done_is_left_alone(study, monkeypatch):
    import ensemble

    study.build("n=2", 0)
    monkeypatch.setattr(ensemble, "build_ensemble", None)
    study.build("n=2", 0)


def test_names_and_seeds():
    from ensembles.presets import dataset
    from ensembles.rows import names, seeds

    assert dataset("parquet:/data/cifar10/") == "cifar10" and dataset("mnist5k") == "mnist5k"
    assert seeds("vit", "parquet:data/cifar10", "full") == [0, 1, 2] and seeds("cnn", "cifar10", "full") == [0]
    assert "n=5" in names("vit", "full", 0) and not any(name.startswith("n=5") for name in names("cnn", "quick", 0))
    assert "n=10, int8" in names("cnn", "full", 0) and "n=10, int8" not in names("vit", "full", 0)
    assert names("vit", "full", 1) == ["n=2", "n=5", "n=10", "one small net of equal total cost"]
    assert set(names("vit", "full", 1)) < set(names("vit", "full", 0))
    assert not {"n=1", "n=3", "n=10, all classes each"} & set(names("cnn", "full", 0)), "a table of its own"
    devices = ["n=1", "n=2", "n=3", "n=5", "n=10", "one small net of equal total cost", "n=10, all classes each"]
    assert names("cnn", "devices", 2) == devices
    assert seeds("cnn", "parquet:data/cifar10", "devices") == [0, 1, 2]


@pytest.mark.parametrize("family", ["vit", "cnn", "snn"])
def test_settings_that_a_preset_does_not_set_are_those_of_its_family(scripts, family):
    from ensembles.presets import FITS, PRESETS, start

    config = start(family, "cifar10", "full", 0)
    assert config.precision == config.base.train.precision == "bf16" and config.fusion.feature_dropout == 0.1
    assert config.retrain.precision == FITS[family].get("precision", "fp32")
    assert config.prune.keep == PRESETS["full"][family].keep == pytest.approx(1 / 3 if family == "vit" else 5 / 16)


@pytest.mark.parametrize("name", ["cnn_cifar10", "snn_cifar10", "vit_cifar10", "vit_fashion_mnist"])
def test_committed_builds_have_the_settings_of_today(scripts, tmp_path, name):
    import ensemble

    family, _, data = name.partition("_")
    study = ensemble.Study(family, data, "full", tmp_path)
    committed = json.loads((ensemble.RESULTS / f"ensemble_{name}.json").read_text())["builds"]
    plain = [build for build in committed if build["row"] in ("n=2", "n=5", "n=10")]  # no plan, hence no data
    assert plain and [study.settings(build["row"], build["seed"]) for build in plain] == [b["settings"] for b in plain]


def test_the_table_of_devices_is_in_fp32_throughout(scripts):
    from ensembles.presets import start

    config = start("cnn", "cifar10", "devices", 1)
    fits = (config.base.train, config.common, config.retrain)
    assert {config.precision, *(fit.precision for fit in fits)} == {"fp32"}
    assert config.prune.keep == 1 / 16 and config.seed == config.base.train.seed == 1


def test_minutes_that_are_over_stop_a_build_where_it_goes_on(study, monkeypatch, tmp_path, capsys):
    import ensemble

    monkeypatch.setattr(ensemble, "RESULTS", tmp_path)
    place, kept = replace(study, work=tmp_path).place("n=2", 0), []
    # Two epochs of the base, the plan, the common net, two sub-models: what is done says so again.
    for lines in (1, 1, 1, 1, 2, 3):
        monkeypatch.setattr(ensemble, "time", SimpleNamespace(monotonic=count(1).__next__))
        with ensemble.until_time_is_up():
            replace(study, work=tmp_path, until=lines - 0.5).make(["n=2"], [0])
            pytest.fail("it was not stopped")
        kept.append(len([*place.glob("common/*/record.json"), *place.glob("submodels/*/record.json")]))
    said = capsys.readouterr().out
    assert said.count("the time is up; the same command goes on from here") == 6
    assert kept == [0, 0, 0, 1, 2, 3] and said.count("base epoch 1/2") == said.count("base epoch 2/2") == 1
    stopped = replace(study, work=tmp_path)
    stopped.make(["n=2"], [0])
    study.build("n=2", 0)
    assert stopped.built("n=2", 0)["accuracy"] == study.built("n=2", 0)["accuracy"]


def test_a_family_that_a_preset_lacks_is_refused(scripts, monkeypatch, capsys):
    import ensemble

    monkeypatch.setattr("sys.argv", ["ensemble.py", "--family", "snn", "--preset", "devices"])
    with pytest.raises(SystemExit):
        ensemble.main()
    assert "--family snn: preset devices has cnn" in capsys.readouterr().err


def test_spikes_stand_beside_those_of_the_base(scripts):
    from ensembles.table import _spikes

    summary = {"base_spikes": 50.0, "submodels": [{"spikes": 3.0}, {"spikes": 4.0}]}
    assert _spikes(summary) == {"spikes_device_max": 4.0, "spikes_total": 7.0, "spikes_full": 50.0}
    assert _spikes({"submodels": [{}, {}]}) == {}, "of a network without spikes"


def test_spearman():
    from ensemble_geometry import by_kind, spearman

    a, b = torch.tensor([1.0, 5.0, 2.0, 9.0]), torch.tensor([10.0, 30.0, 20.0, 40.0])
    assert spearman(a, b) == pytest.approx(1) and spearman(a, -b) == pytest.approx(-1)
    found = by_kind(
        {"width": a, "blocks.0.ffn": a, "blocks.1.ffn": a}, {"width": a, "blocks.0.ffn": a, "blocks.1.ffn": -a}
    )
    assert found == pytest.approx({"width": 1, "ffn": 0, "least": -1})


def test_share_of_units_that_are_kept_alike():
    from ensemble_geometry import share_alike

    kept = {"width": torch.tensor([0, 1, 5]), "blocks.0.ffn": torch.tensor([2])}
    other = {"width": torch.tensor([1, 4, 5]), "blocks.0.ffn": torch.tensor([3])}
    assert share_alike(kept, kept) == 1 and share_alike(other, kept) == 0.5


def test_rows_that_lie_together_share_a_label():
    from ensembles.plot import _together

    points = [(0.0, 75.0), (1.0, 50.0), (0.001, 75.5), (0.0, 76.5), (1.0, 75.0), (1.08, 75.0)]
    assert _together(points) == [[1, 3], [4], [2], [5], [6]]


def test_a_script_computes_as_its_model():
    from ensemble_geometry import SHAPE, pair, scripted

    from raysplit.ensemble.cost import measure_latencies

    _, small = pair()
    script, image = scripted(small), torch.randn(1, *SHAPE)
    with torch.inference_mode():
        torch.testing.assert_close(script(image), small(image), atol=1e-4, rtol=1e-4)
    assert not list(script.parameters()) and measure_latencies([script], SHAPE, rounds=1)[0] > 0


def test_a_result_has_builds_of_its_own_settings_alone(study, monkeypatch, tmp_path):
    import ensemble

    monkeypatch.setattr(ensemble, "RESULTS", tmp_path)
    assert study.known() == {}
    for settings in (study.settings("n=2", 0), study.settings("n=5", 0)):
        build = {"row": "n=2", "seed": 0, "settings": settings}
        (tmp_path / f"{study.result}.json").write_text(json.dumps({"builds": [build]}))
        assert study.known() == ({("n=2", 0): build} if settings == study.settings("n=2", 0) else {})
    elsewhere = ensemble.Study("vit", "parquet:/somewhere/digits", "tiny", tmp_path)
    assert elsewhere.name == study.name and elsewhere.settings("n=2", 0) == study.settings("n=2", 0)


def test_a_build_of_other_settings_is_neither_shown_nor_touched(study, monkeypatch):
    from ensembles import presets, rows

    study.build("n=2", 0)
    assert study.built("n=2", 0)["settings"] == study.settings("n=2", 0)
    monkeypatch.setitem(rows.ROWS, "n=2", lambda config: config)
    assert study.built("n=2", 0) is None
    with monkeypatch.context() as other:
        longer = replace(presets.PRESETS["tiny"]["vit"], base_epochs=3)
        other.setitem(presets.PRESETS["tiny"], "vit", longer)
        other.setattr("ensemble.train_base", None)
        assert study.built("n=2", 0) is None, "of another base, which is not trained for that"
    with pytest.raises(ConfigError, match="a build of another config"):
        study.build("n=2", 0)
