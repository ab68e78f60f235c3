"""A build from base to bundle, stopped and gone on with; spiking nets too; planted faults."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from raysplit.config import (
    BaseConfig,
    ClassifierFit,
    DataConfig,
    EnsembleConfig,
    FusionConfig,
    GroupsConfig,
    Machine,
    ModelConfig,
    PruneConfig,
    RetrainConfig,
)
from raysplit.data import export, load
from raysplit.ensemble import build as stages
from raysplit.ensemble.build import build_ensemble, planned
from raysplit.ensemble.bundle import load_ensemble
from raysplit.ensemble.check import checked
from raysplit.ensemble.classifier import fit_base, load_base, samples_of_split
from raysplit.ensemble.submodel import load_submodel, make_common, make_submodel
from raysplit.errors import BundleError, ConfigError, DataError, ModelError
from raysplit.models.spiking import spike_rate
from raysplit.torch_utils.seeds import generator
from raysplit.utils.storage import Folder

FIT = {"epochs": 2, "batch_size": 32, "device": "cpu"}
VIT = ModelConfig(name="vit", args={"patch": 4, "width": 24, "depth": 2, "heads": 3})
MUON = RetrainConfig(epochs=1, optimizer="muon")


def config(**changes):
    plain = EnsembleConfig(
        name="tiny",
        data=DataConfig(name="digits", train_rows=320),
        base=BaseConfig(model=VIT, train=ClassifierFit(**FIT)),
        groups=GroupsConfig(n=3),
        prune=PruneConfig(keep=0.67, proxy=16),
        retrain=RetrainConfig(**FIT, distill=1.0),
        fusion=FusionConfig(epochs=3, batch_size=32, device="cpu"),
    )
    return plain.replaced(**changes)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    place = tmp_path_factory.mktemp("build")
    return place, build_ensemble(config(), str(place))


def test_the_summary_adds_up(built):
    place, summary = built
    assert summary == json.loads((place / "summary.json").read_text())
    parts = summary["submodels"]
    assert sorted(name for part in parts for name in part["classes"]) == [str(digit) for digit in range(10)]
    assert summary["n"] == len(parts) == 3 and all(part["k"] == 2 for part in parts)
    assert summary["mib_total"] == pytest.approx(sum(part["mib"] for part in parts))
    assert summary["mib_device_max"] == max(part["mib"] for part in parts) < summary["base_mib"]
    assert summary["gmac_device_max"] < summary["base_gmac"]
    assert summary["bytes_per_sample"] == 3 * 16 * 4 and summary["bytes_per_sample_raw"] == 64
    table = torch.tensor(summary["confusion"])
    assert table.sum() == summary["test_images"]
    assert summary["accuracy"] == pytest.approx(table.diagonal().sum().item() / summary["test_images"])
    assert 0 <= summary["lost2"] <= 1 and "lost3" not in summary
    for i, part in enumerate(parts):
        assert part["mib"] * 2**20 == (place / f"bundle/submodels/{i}.safetensors").stat().st_size


def test_the_bundle_answers_as_the_summary_says(built):
    place, summary = built
    ensemble = load_ensemble(str(place / "bundle"))
    test = load(config().data, "test")
    answers = ensemble.predict(test.images)
    assert answers.shape == (len(test.labels), 10) and torch.allclose(answers.sum(1), torch.ones(len(answers)))
    assert (answers.argmax(1) == test.labels).float().mean().item() == pytest.approx(summary["accuracy"])
    assert ensemble.id == summary["bundle_id"]
    assert not torch.equal(ensemble.predict(test.images[:8], missing=[1]), answers[:8])


def test_a_build_that_is_done_is_not_done_again(built, monkeypatch):
    place, summary = built
    monkeypatch.setattr(stages, "load_base", None)
    assert build_ensemble(config(), str(place)) == summary
    with pytest.raises(ConfigError, match="holds a build of another config"):
        build_ensemble(config(seed=1), str(place))


def test_a_base_that_was_read_says_how_good_it_is_before_anything_is_cut(built, tmp_path, capsys):
    given = config(base=BaseConfig(model=VIT, weights=str(built[0] / "base/model.safetensors")))
    place = Folder.at(str(tmp_path))
    stages.adopt_base(given, place)
    base = load_base(given, place, 10, (1, 8, 8))
    val = samples_of_split(given, "val")
    planned(given, place, base)
    right = (stages.outputs(base, val)[1].argmax(1) == val.targets).float().mean().item()
    assert f"the base is right on {100 * right:.1f} % of the validation images" in capsys.readouterr().out


def test_a_config_with_tuples_is_known_again(tmp_path):
    given = config(base=BaseConfig(model=ModelConfig(name="timm:vit_tiny_patch16_224", args={"img_size": (8, 8)})))
    stages.claim(given, Folder.at(str(tmp_path)))
    stages.claim(given, Folder.at(str(tmp_path)))


def test_a_build_that_was_stopped_goes_on_where_it_was(built, tmp_path, monkeypatch):
    _, summary = built
    made = []

    class Stopping(stages.LocalRunner):
        def __init__(self, after):
            self._after = after

        def each(self, function, indices, name):
            for index in list(indices)[: self._after]:
                if not (tmp_path / f"submodels/{index}/record.json").exists():
                    made.append(index)
                function(index)
            if self._after < 3:
                raise KeyboardInterrupt

    for after in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            build_ensemble(config(), str(tmp_path), Stopping(after))
    done = (tmp_path / "submodels/0/model.safetensors").read_bytes()
    again = build_ensemble(config(), str(tmp_path), Stopping(3))
    assert made == [0, 1, 2] and (tmp_path / "submodels/0/model.safetensors").read_bytes() == done
    same = ("accuracy", "base_accuracy", "confusion", "bundle_id", "lost1")
    assert {key: again[key] for key in same} == {key: summary[key] for key in same}


def test_the_base_goes_on_with_its_epoch(built, tmp_path, monkeypatch):
    place, _ = built

    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    from raysplit.ensemble.classifier import fit_base
    from raysplit.utils.storage import Folder

    with pytest.raises(Stop):
        fit_base(config(), Folder.at(str(tmp_path)), watch=stop)
    lines = []
    fit_base(config(), Folder.at(str(tmp_path)), watch=lines.append)
    assert len(lines) == 1 and lines[0].startswith("base epoch 2/2")
    name = "base/model.safetensors"
    assert (tmp_path / name).read_bytes() == (place / name).read_bytes()
    assert not (tmp_path / "base/state.pt").exists()


@pytest.mark.parametrize(("model", "scores"), [("vgg5", "apoz"), ("spiking_vgg5", "apoz")], ids=["cnn", "snn"])
def test_convolutional_families(model, scores, tmp_path):
    small = config(
        base=BaseConfig(model=ModelConfig(name=model, args={"width": 0.25}), train=ClassifierFit(**FIT)),
        groups=GroupsConfig(n=2, by="confusion"),
        prune=PruneConfig(keep=0.5, scores=scores, proxy=8),
        precision="int8",
    )
    summary = build_ensemble(small, str(tmp_path))
    assert summary["kind"] == {"vgg5": "cnn", "spiking_vgg5": "snn"}[model]
    assert summary["mib_total"] < summary["base_mib"] and summary["precision"] == "int8"
    spikes = [part.get("spikes", 0) for part in summary["submodels"]]
    if model == "spiking_vgg5":
        base = load_base(small, Folder.at(str(tmp_path)), 10, (1, 8, 8))
        test = samples_of_split(small, "test")
        x = test.batch(torch.randperm(len(test), generator=generator("spikes"))[:100])
        assert min(spikes) > 0 and summary["base_spikes"] == pytest.approx(spike_rate(base, x))
    else:
        assert not any(spikes) and "base_spikes" not in summary
    images = load(small.data, "test").images[:4]
    first, second = (load_ensemble(str(tmp_path / "bundle")).predict(images) for _ in range(2))
    assert torch.equal(first, second)


def test_devices_decide_the_size_and_no_rest_class_is_possible(built, tmp_path):
    place, _ = built
    weights = str(place / "base/model.safetensors")
    sizes = [0.02, 0.011]
    small = config(
        base=BaseConfig(model=VIT, weights=weights),
        groups=GroupsConfig(rest=False),
        prune=PruneConfig(keep="fit", proxy=8, scores="random"),
        devices=tuple(Machine(name=f"d{i}", memory_mib=size, gflops_per_s=1) for i, size in enumerate(sizes)),
        retrain=None,
    )
    summary = build_ensemble(small, str(tmp_path))
    assert {part["device"] for part in summary["submodels"]} == {"d0", "d1"}
    by_name = {part["device"]: part for part in summary["submodels"]}
    assert all(by_name[f"d{i}"]["mib"] <= size for i, size in enumerate(sizes))
    assert [load["device"] for load in summary["devices"]] == ["d0", "d1"]
    assert summary["base_accuracy"] == built[1]["base_accuracy"]


@pytest.mark.parametrize("kind", ["pickle", "other", "missing"])
def test_weights_of_something_else_are_refused(kind, tmp_path):
    path = tmp_path / "weights.safetensors"
    if kind == "pickle":
        torch.save({"head.weight": torch.zeros(1)}, path)
    elif kind == "other":
        from safetensors.torch import save_file

        save_file({"strange": torch.zeros(1)}, path)
    small = config(base=BaseConfig(model=VIT, weights=str(path)))
    error = {"pickle": BundleError, "other": ModelError, "missing": ConfigError}[kind]
    with pytest.raises(error, match=r"weights\.safetensors"):
        build_ensemble(small, str(tmp_path / "build"))
    assert not (tmp_path / "build/base").exists()


@pytest.mark.parametrize("fault", ["flipped", "missing", "version"])
def test_a_damaged_bundle_is_refused_with_the_files_name(fault, built, tmp_path):
    place = tmp_path / "bundle"
    shutil.copytree(Path(built[0]) / "bundle", place)
    part = place / "submodels/1.safetensors"
    if fault == "flipped":
        data = bytearray(part.read_bytes())
        data[-1] ^= 1
        part.write_bytes(data)
    elif fault == "missing":
        part.unlink()
    else:
        manifest = json.loads((place / "manifest.json").read_text()) | {"format": 99}
        (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        BundleError, match=r"manifest\.json .* of format 99" if fault == "version" else r"submodels/1\.safetensors"
    ):
        load_ensemble(str(place))


def test_a_network_that_cannot_be_cut_is_refused_before_it_is_trained(tmp_path):
    with pytest.raises(ModelError, match="resnet18"):
        build_ensemble(
            config(base=BaseConfig(model=ModelConfig(name="resnet18")), data=DataConfig(name="digits", channels=3)),
            str(tmp_path),
        )
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"groups": GroupsConfig(n=11)}, "10 classes cannot be split into 11 groups"),
        ({"prune": PruneConfig(keep=0.5, scores="apoz")}, "apoz counts zeros"),
        ({"devices": (Machine(name="d", memory_mib=0.001, gflops_per_s=1),)}, "cannot be placed"),
    ],
)
def test_what_cannot_be_is_refused_before_the_base_is_trained(changes, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        build_ensemble(config(**changes), str(tmp_path))
    assert not (tmp_path / "base").exists()


def test_a_folder_takes_what_is_asked_for_after_a_refusal(tmp_path):
    with pytest.raises(ConfigError, match="10 classes cannot be split into 11 groups"):
        build_ensemble(config(groups=GroupsConfig(n=11)), str(tmp_path))
    assert not list(tmp_path.iterdir())
    stages.claim(config(), Folder.at(str(tmp_path)))
    with pytest.raises(ConfigError, match="give each build its own folder$"):  # there is no base to speak of
        stages.claim(config(seed=1), Folder.at(str(tmp_path)))


def test_other_data_than_a_build_was_begun_with_are_refused(tmp_path):
    place, data = tmp_path / "data", DataConfig(name=f"parquet:{tmp_path / 'data'}")
    for split in ("train", "test"):
        export(config().data, split, place / f"{split}.parquet")

    class Stopping(stages.LocalRunner):
        def each(self, function, indices, name):
            raise KeyboardInterrupt

    given = config(data=data, retrain=None)
    with pytest.raises(KeyboardInterrupt):
        build_ensemble(given, str(tmp_path / "build"), Stopping())
    rows = json.loads((tmp_path / "build/data.json").read_text())["train"]["rows"]
    export(config().data, "test", place / "train.parquet")
    with pytest.raises(DataError, match=rf"is not the data that .* the train split has \d+ images and had {rows}, or"):
        build_ensemble(given, str(tmp_path / "build"))


def test_a_bundle_can_be_learned_from_after_it_answered(built):
    place, _ = built
    ensemble = load_ensemble(str(place / "bundle"))
    ensemble.predict(load(config().data, "test").images[:2])
    ensemble.submodel(0)(torch.rand(2, 1, 8, 8)).sum().backward()


def test_sub_models_start_from_a_net_of_all_classes_of_their_size(tmp_path):
    devices = (
        Machine(name="small", memory_mib=0.02, gflops_per_s=1),
        Machine(name="large", memory_mib=1, gflops_per_s=1),
    )
    taught = RetrainConfig(**FIT, distill=1.0)
    given = config(
        groups=GroupsConfig(n=2), prune=PruneConfig(keep="fit", proxy=16), devices=devices, common=taught, retrain=None
    )
    summary = build_ensemble(given, str(tmp_path))
    sizes = {part["k"] for part in summary["submodels"]}
    assert sizes == {int(folder.name) for folder in (tmp_path / "common").iterdir()}
    assert summary["seconds"]["common"] > 0 and not list(tmp_path.glob("submodels/*/scores.safetensors"))
    plan = json.loads((tmp_path / "plan.json").read_text())
    for i, seat in enumerate(plan["seats"]):
        own = load_file(tmp_path / f"submodels/{i}/model.safetensors")
        common = load_file(tmp_path / f"common/{seat['k']}/model.safetensors")
        head = common.pop("head.weight")
        others = [c for c in range(10) if c not in seat["classes"]]
        assert torch.equal(own["head.weight"], torch.cat([head[others].mean(0, keepdim=True), head[seat["classes"]]]))
        assert all(torch.equal(own[name], value) for name, value in common.items() if name != "head.bias")


def test_a_common_net_that_is_done_is_not_trained_again(tmp_path):
    given = config(common=RetrainConfig(**FIT))
    build_ensemble(given, str(tmp_path))
    before = (tmp_path / "common/2/record.json").read_bytes()
    parts = [(tmp_path / f"submodels/{i}/model.safetensors").read_bytes() for i in range(3)]
    for gone in ("summary.json", "submodels/1/record.json", "fusion/record.json"):
        (tmp_path / gone).unlink()
    build_ensemble(given, str(tmp_path))
    assert (tmp_path / "common/2/record.json").read_bytes() == before
    assert [(tmp_path / f"submodels/{i}/model.safetensors").read_bytes() for i in range(3)] == parts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": BaseConfig(model=ModelConfig(name="vgg5")), "retrain": MUON}, "retrain.optimizer 'muon'"),
        ({"base": BaseConfig(model=ModelConfig(name="vgg5")), "common": MUON}, "common.optimizer 'muon'"),
        ({"base": BaseConfig(model=ModelConfig(name="vgg5"), train=MUON)}, "base.train.optimizer 'muon'"),
        ({"base": BaseConfig(model=VIT, mean=(0.5,) * 3, std=(0.5,) * 3)}, "have 3 numbers, .* have 1 channels"),
        (
            {"groups": GroupsConfig(n=10, rest=False), "retrain": RetrainConfig(**FIT)},
            "groups.rest is false and a sub-model has one class: .*retrain.distill above 0, or retrain to null",
        ),
        (
            {"groups": GroupsConfig(n=10, negatives=0), "retrain": RetrainConfig(**FIT)},
            "groups.negatives is 0 and a sub-model has one class: .*set .* groups.negatives above 0",
        ),
        ({"fusion": FusionConfig(device="cuda:x")}, "fusion.device 'cuda:x' cannot be used here"),
        ({"base": BaseConfig(model=VIT, train=ClassifierFit(device="gpu"))}, "base.train.device 'gpu' cannot be used"),
        (
            {"base": BaseConfig(model=VIT, train=ClassifierFit(**FIT), workers=3)},
            "batches of 32 images cannot be shared equally by 3 workers; set base.train.batch_size",
        ),
    ],
    ids=["retrain", "common", "base", "mean", "one class", "no negatives", "fusion", "device", "workers"],
)
def test_what_cannot_be_is_said_before_the_base_is_trained(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        build_ensemble(config(**changes), str(tmp_path))
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("by", ["seed", "confusion"])
def test_a_sub_model_needs_images_of_its_own_classes(by, tmp_path):
    given = config(
        groups=GroupsConfig(n=10, by=by), data=DataConfig(name="digits", train_rows=4), common=RetrainConfig(**FIT)
    )
    given = given.replaced(base=given.base.replaced(train=ClassifierFit(**FIT | {"batch_size": 4})))
    with pytest.raises(DataError, match="no training image of the classes of sub-model"):
        build_ensemble(given.replaced(common=given.common.replaced(batch_size=4)), str(tmp_path))
    assert (tmp_path / "base").exists() == (by == "confusion"), "groups that the base does not decide are known before"


def test_one_class_is_nothing_to_tell_apart():
    with pytest.raises(DataError, match="has 1 class: there is nothing to tell apart"):
        checked(config(), 1, (1, 8, 8))


def test_a_bundle_cannot_name_code_to_run(built, tmp_path):
    place = tmp_path / "bundle"
    shutil.copytree(Path(built[0]) / "bundle", place)
    (place / "evil.py").write_text("raise SystemExit('ran')")
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["about"]["parts"][0]["model"]["name"] = f"{place}/evil.py:make"
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        BundleError, match=r"parts\.0\.model: .*evil\.py:make' is no network that sub-models are made as"
    ):
        load_ensemble(str(place))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about["parts"][1].update(classes=[3, 99]), r"submodels/1.* knows class 99, .* 0 to 9"),
        (lambda about: about.update(mean=[0.5, 0.5]), "mean and std have 2 and 1 numbers for 1 channels"),
        (lambda about: about.update(parts=[]), "parts"),
        (lambda about: about["parts"][0].update(features=-5), r"parts\.0\.features"),
        (lambda about: about.update(layers=10**9), "layers"),
        (lambda about: about.update(std=[0.0]), r"std\.0"),
    ],
    ids=["class", "mean", "parts", "features", "layers", "std"],
)
def test_a_manifest_that_contradicts_itself_is_refused(built, tmp_path, change, message):
    place = tmp_path / "bundle"
    shutil.copytree(Path(built[0]) / "bundle", place)
    manifest = json.loads((place / "manifest.json").read_text())
    change(manifest["about"])
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=rf"manifest\.json of ensemble .* is malformed: .*{message}"):
        load_ensemble(str(place))


def test_a_pickle_whose_hash_is_right_is_refused_by_name(built, tmp_path):
    place = tmp_path / "bundle"
    shutil.copytree(Path(built[0]) / "bundle", place)
    part = place / "submodels/0.safetensors"
    torch.save({"head.weight": torch.zeros(1)}, part)
    manifest = json.loads((place / "manifest.json").read_text())
    known = {"sha256": hashlib.sha256(part.read_bytes()).hexdigest(), "bytes": part.stat().st_size}
    manifest["files"]["submodels/0.safetensors"] = known
    (place / "manifest.json").write_text(json.dumps(manifest))
    ensemble = load_ensemble(str(place))
    with pytest.raises(BundleError, match=r"submodels/0\.safetensors is a pickle"):
        ensemble.predict(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


def test_a_base_of_timm_is_read_from_a_checkpoint(tmp_path):
    model = ModelConfig(name="timm:vit_tiny_patch16_224", args={"img_size": 8, "patch_size": 4, "depth": 1})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = timm.create_model(
            "vit_tiny_patch16_224", img_size=8, patch_size=4, depth=1, in_chans=1, num_classes=10
        ).eval()
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    base = BaseConfig(model=model, weights=str(tmp_path / "theirs.safetensors"), mean=(0.5,), std=(0.5,))
    given = config(base=base, prune=PruneConfig(keep=1.0, proxy=4), retrain=None, groups=GroupsConfig(n=1))
    build_ensemble(given, str(tmp_path / "build"))
    x = torch.rand(3, 1, 8, 8)
    ours = load_ensemble(str(tmp_path / "build/bundle")).submodel(0)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_one_seed_gives_the_same_spiking_base_and_sub_models(tmp_path):
    given = config(
        base=BaseConfig(model=ModelConfig(name="spiking_vgg5", args={"width": 0.125}), train=ClassifierFit(**FIT)),
        groups=GroupsConfig(n=2),
        prune=PruneConfig(keep=0.5, scores="apoz", proxy=8),
        data=DataConfig(name="digits", train_rows=64),
        common=RetrainConfig(**FIT),
    )
    answers = []
    for name in ("one", "two"):
        place = Folder.at(str(tmp_path / name))
        fit_base(given, place)
        base = load_base(given, place, 10, (1, 8, 8)).eval()
        plan = planned(given, place, base)
        make_common(given, plan, 8, place)
        make_submodel(given, plan, 0, place)
        images = samples_of_split(given, "test").batch(slice(0, 16))
        with torch.no_grad():
            answers.append((base(images), load_submodel(given, plan, 0, place)(images)))
    assert all(torch.equal(one, two) for one, two in zip(*answers, strict=True))
