"""A build from base to bundle, stopped and continued; spiking networks too; planted faults."""

from __future__ import annotations

import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from raysplit.config import (
    BaseConfig,
    ClassifierFit,
    DataConfig,
    GroupsConfig,
    Machine,
    ModelConfig,
    PruneConfig,
    RetrainConfig,
)
from raysplit.data import export, load
from raysplit.ensemble import build as stages
from raysplit.ensemble.base_classifier import import_base, load_base, train_base
from raysplit.ensemble.build import build_ensemble, plan_build
from raysplit.ensemble.bundle import load_ensemble
from raysplit.ensemble.context import open_build
from raysplit.ensemble.forward import compute_outputs
from raysplit.ensemble.runner import LocalRunner
from raysplit.ensemble.submodel import load_submodel, make_common, make_submodel
from raysplit.errors import ConfigError, DataError, ModelError
from raysplit.folders.build_dir import BuildDir
from raysplit.models.checkpoint_file import hash_file
from raysplit.models.spiking import spike_rate
from raysplit.torch_utils.seeds import generator
from tests.ensemble.tiny_build import FIT, VIT, config


def test_the_summary_adds_up(built):
    folder, summary = built
    assert json.loads(summary.model_dump_json()) == json.loads((folder / "summary.json").read_text())
    parts = summary.submodels
    assert sorted(name for part in parts for name in part.classes) == [str(digit) for digit in range(10)]
    assert summary.n == len(parts) == 3 and all(part.k == 2 for part in parts)
    assert summary.mib_total == pytest.approx(sum(part.mib for part in parts))
    assert summary.mib_device_max == max(part.mib for part in parts) < summary.base_mib
    assert summary.gmac_device_max < summary.base_gmac
    assert summary.bytes_per_sample == 3 * 16 * 4 and summary.bytes_per_sample_raw == 64
    table = torch.tensor(summary.confusion)
    assert table.sum() == summary.test_images
    assert summary.accuracy == pytest.approx(table.diagonal().sum().item() / summary.test_images)
    assert list(summary.lost) == [1, 2] and 0 <= summary.lost2 <= 1
    for i, part in enumerate(parts):
        assert part.mib * 2**20 == (folder / f"bundle/submodels/{i}.safetensors").stat().st_size


def test_the_bundle_predicts_as_the_summary_says(built):
    folder, summary = built
    ensemble = load_ensemble(str(folder / "bundle"))
    test = load(config().data, "test")
    predicted = ensemble.predict(test.images)
    assert predicted.shape == (len(test.labels), 10) and torch.allclose(predicted.sum(1), torch.ones(len(predicted)))
    assert (predicted.argmax(1) == test.labels).float().mean().item() == pytest.approx(summary.accuracy)
    assert ensemble.id == summary.bundle_id
    assert not torch.equal(ensemble.predict(test.images[:8], missing=[1]), predicted[:8])


def test_a_build_that_is_done_is_not_done_again(built, monkeypatch):
    folder, summary = built
    monkeypatch.setattr(stages, "load_base", None)
    assert build_ensemble(config(), str(folder)) == summary
    with pytest.raises(ConfigError, match="holds a build of another config"):
        build_ensemble(config(seed=1), str(folder))


def test_an_imported_base_is_validated_before_anything_is_cut(built, tmp_path):
    given = config(base=BaseConfig(model=VIT, weights=str(built[0] / "base/model.safetensors")))
    context, lines = open_build(given, str(tmp_path)), []
    import_base(context)
    base, val = load_base(context), context.load_samples("val")
    plan_build(context, base, lines.append)
    accuracy = (compute_outputs(base, val).predictions == val.targets).float().mean().item()
    assert lines == [f"the base's validation accuracy is {100 * accuracy:.1f} %"]
    plan_build(context, base, lines.append)
    assert len(lines) == 1, "the plan is made once"


def test_a_stopped_build_continues_where_it_was(built, tmp_path):
    _, summary = built
    made = []

    class Stopping(LocalRunner):
        def __init__(self, after):
            self._after = after

        def run_each(self, task, indices, describe, log):
            for index in list(indices)[: self._after]:
                if not (tmp_path / f"submodels/{index}/record.json").exists():
                    made.append(index)
                task(index)
            if self._after < 3:
                raise KeyboardInterrupt

    for after in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            build_ensemble(config(), str(tmp_path), Stopping(after))
    done = (tmp_path / "submodels/0/model.safetensors").read_bytes()
    again = build_ensemble(config(), str(tmp_path), Stopping(3))
    assert made == [0, 1, 2] and (tmp_path / "submodels/0/model.safetensors").read_bytes() == done
    same = {"accuracy", "base_accuracy", "confusion", "bundle_id", "lost1"}
    assert again.model_dump(include=same) == summary.model_dump(include=same)


@pytest.mark.parametrize(("model", "scores"), [("vgg5", "apoz"), ("spiking_vgg5", "apoz")], ids=["cnn", "snn"])
def test_convolutional_networks(model, scores, tmp_path):
    small = config(
        base=BaseConfig(model=ModelConfig(name=model, args={"width": 0.25}), train=ClassifierFit(**FIT)),
        groups=GroupsConfig(n=2, by="confusion"),
        prune=PruneConfig(keep=0.5, scores=scores, proxy=8),
        precision="int8",
    )
    summary = build_ensemble(small, str(tmp_path))
    assert summary.kind == {"vgg5": "cnn", "spiking_vgg5": "snn"}[model]
    assert summary.mib_total < summary.base_mib and summary.precision == "int8"
    spikes = [part.spikes for part in summary.submodels]
    if model == "spiking_vgg5":
        context = open_build(small, str(tmp_path))
        base, test = load_base(context), context.load_samples("test")
        x = test.batch(torch.randperm(len(test), generator=generator("spikes"))[:100])
        assert min(spikes) > 0 and summary.base_spikes == pytest.approx(spike_rate(base, x))
    else:
        assert spikes == [None, None] and summary.base_spikes is None
    images = load(small.data, "test").images[:4]
    first, second = (load_ensemble(str(tmp_path / "bundle")).predict(images) for _ in range(2))
    assert torch.equal(first, second)


def test_devices_decide_the_size_and_no_rest_class_is_possible(built, tmp_path):
    folder, _ = built
    weights = str(folder / "base/model.safetensors")
    sizes = [0.02, 0.011]
    small = config(
        base=BaseConfig(model=VIT, weights=weights),
        groups=GroupsConfig(rest=False),
        prune=PruneConfig(keep="fit", proxy=8, scores="random"),
        devices=tuple(Machine(name=f"d{i}", memory_mib=size, gflops_per_s=1) for i, size in enumerate(sizes)),
        retrain=None,
    )
    summary = build_ensemble(small, str(tmp_path))
    assert {part.device for part in summary.submodels} == {"d0", "d1"}
    by_name = {part.device: part for part in summary.submodels}
    assert all(by_name[f"d{i}"].mib <= size for i, size in enumerate(sizes))
    assert [load.device for load in summary.devices] == ["d0", "d1"]
    assert summary.base_accuracy == built[1].base_accuracy


@pytest.mark.parametrize("kind", ["pickle", "other", "missing"])
def test_weights_of_something_else_are_refused(kind, tmp_path):
    path = tmp_path / "weights.safetensors"
    if kind == "pickle":
        torch.save({"head.weight": torch.zeros(1)}, path)
    elif kind == "other":
        from safetensors.torch import save_file

        save_file({"strange": torch.zeros(1)}, path)
    small = config(base=BaseConfig(model=VIT, weights=str(path)))
    error = ConfigError if kind == "missing" else ModelError
    with pytest.raises(error, match=r"weights\.safetensors"):
        build_ensemble(small, str(tmp_path / "build"))
    assert not (tmp_path / "build/base").exists()


def test_a_network_that_cannot_be_cut_is_refused_before_it_is_trained(tmp_path):
    with pytest.raises(ModelError, match="resnet18"):
        build_ensemble(
            config(base=BaseConfig(model=ModelConfig(name="resnet18")), data=DataConfig(name="digits", channels=3)),
            str(tmp_path),
        )
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": GroupsConfig(n=11)}, "10 classes cannot be split into 11 groups"),
        ({"prune": PruneConfig(keep=0.5, scores="apoz")}, "apoz counts zeros"),
        ({"devices": (Machine(name="d", memory_mib=0.001, gflops_per_s=1),)}, "cannot be placed"),
    ],
)
def test_an_impossible_plan_is_refused_before_the_base_is_trained(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        build_ensemble(config(**changes), str(tmp_path))
    assert not (tmp_path / "base").exists()


def test_a_refused_build_leaves_its_folder_free(tmp_path):
    with pytest.raises(ConfigError, match="10 classes cannot be split into 11 groups"):
        build_ensemble(config(groups=GroupsConfig(n=11)), str(tmp_path))
    assert not list(tmp_path.iterdir())
    BuildDir.at(str(tmp_path)).claim(config())


def test_a_build_does_not_continue_with_other_data(tmp_path):
    place, data = tmp_path / "data", DataConfig(name=f"parquet:{tmp_path / 'data'}")
    for split in ("train", "test"):
        export(config().data, split, place / f"{split}.parquet")

    class Stopping(LocalRunner):
        def run_each(self, task, indices, describe, log):
            raise KeyboardInterrupt

    given = config(data=data, retrain=None)
    with pytest.raises(KeyboardInterrupt):
        build_ensemble(given, str(tmp_path / "build"), Stopping())
    rows = json.loads((tmp_path / "build/data.json").read_text())["train"]["rows"]
    export(config().data, "test", place / "train.parquet")
    with pytest.raises(
        DataError, match=rf"differs from the data that .* the train split has \d+ images and had {rows}, or"
    ):
        build_ensemble(given, str(tmp_path / "build"))


def test_sub_models_are_cut_out_of_a_common_network_of_their_size(tmp_path):
    devices = (
        Machine(name="small", memory_mib=0.02, gflops_per_s=1),
        Machine(name="large", memory_mib=1, gflops_per_s=1),
    )
    taught = RetrainConfig(**FIT, distill=1.0)
    given = config(
        groups=GroupsConfig(n=2), prune=PruneConfig(keep="fit", proxy=16), devices=devices, common=taught, retrain=None
    )
    summary = build_ensemble(given, str(tmp_path))
    sizes = {part.k for part in summary.submodels}
    assert sizes == {int(folder.name) for folder in (tmp_path / "common").iterdir()}
    assert summary.seconds.common > 0 and not list(tmp_path.glob("submodels/*/scores.safetensors"))
    plan = BuildDir.at(str(tmp_path)).plan()
    for i, spec in enumerate(plan.submodels):
        own = load_file(tmp_path / f"submodels/{i}/model.safetensors")
        common = load_file(tmp_path / f"common/{spec.k}/model.safetensors")
        head = common.pop("head.weight")
        others = [c for c in range(10) if c not in spec.classes]
        assert torch.equal(
            own["head.weight"], torch.cat([head[others].mean(0, keepdim=True), head[list(spec.classes)]])
        )
        assert all(torch.equal(own[name], value) for name, value in common.items() if name != "head.bias")


def test_a_common_network_that_is_done_is_not_trained_again(tmp_path):
    given = config(common=RetrainConfig(**FIT))
    build_ensemble(given, str(tmp_path))
    before = (tmp_path / "common/2/record.json").read_bytes()
    parts = [(tmp_path / f"submodels/{i}/model.safetensors").read_bytes() for i in range(3)]
    for gone in ("summary.json", "submodels/1/record.json", "fusion/record.json"):
        (tmp_path / gone).unlink()
    build_ensemble(given, str(tmp_path))
    assert (tmp_path / "common/2/record.json").read_bytes() == before
    assert [(tmp_path / f"submodels/{i}/model.safetensors").read_bytes() for i in range(3)] == parts


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
    summary = build_ensemble(given, str(tmp_path / "build"))
    assert summary.weights == hash_file(tmp_path / "theirs.safetensors")
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
    logits = []
    for name in ("one", "two"):
        context = open_build(given, str(tmp_path / name))
        train_base(context, print)
        base = load_base(context)
        build = plan_build(context, base)
        make_common(build, 8)
        make_submodel(build, 0)
        images = context.load_samples("test").batch(slice(0, 16))
        with torch.no_grad():
            logits.append((base(images), load_submodel(build, 0)(images)))
    assert all(torch.equal(one, two) for one, two in zip(*logits, strict=True))
