"""The base: trained, also by several processes, read from files, and what it teaches."""

from __future__ import annotations

import json

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch.nn.parallel import DistributedDataParallel

from raysplit.config import (
    BaseConfig,
    ClassifierFit,
    DataConfig,
    EnsembleConfig,
    GroupsConfig,
    ModelConfig,
    PruneConfig,
)
from raysplit.ensemble.classifier import (
    RECORD,
    TEACHER,
    WEIGHTS,
    adopt_base,
    fit_base,
    load_base,
    normalisation,
    samples_of_split,
    start_base,
    teach,
)
from raysplit.ensemble.trainer import outputs
from raysplit.errors import ConfigError, ModelError
from raysplit.utils.storage import Folder

CONFIG = EnsembleConfig(
    name="tiny",
    data=DataConfig(name="digits", train_rows=320),
    base=BaseConfig(
        model=ModelConfig(name="vit", args={"patch": 4, "width": 24, "depth": 2, "heads": 3}),
        train=ClassifierFit(epochs=2, batch_size=32, device="cpu"),
    ),
    groups=GroupsConfig(n=2),
    prune=PruneConfig(keep=0.67),
)
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    place = tmp_path_factory.mktemp("alone")
    fit_base(CONFIG, Folder.at(str(place)))
    return place


def _share(rank: int, world: int, place: str, config: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{place}/meeting", rank=rank, world_size=world)
    fit_base(EnsembleConfig.model_validate_json(config), Folder.at(place), rank, world, DistributedDataParallel)
    dist.destroy_process_group()


def test_two_processes_train_the_base_that_one_does(alone, tmp_path):
    torch.multiprocessing.spawn(_share, (2, str(tmp_path), CONFIG.model_dump_json()), nprocs=2)
    one, two = load_file(alone / WEIGHTS), load_file(tmp_path / WEIGHTS)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)
    rows = [json.loads((place / RECORD).read_text())["epochs"] for place in (alone, tmp_path)]
    assert [row["val_accuracy"] for row in rows[0]] == pytest.approx([row["val_accuracy"] for row in rows[1]], abs=0.05)


def test_a_file_with_the_models_names_is_adopted(alone, tmp_path):
    mean, std = normalisation(CONFIG)
    given = CONFIG.replaced(base=CONFIG.base.replaced(weights=str(alone / WEIGHTS), mean=mean, std=std))
    adopt_base(given, Folder.at(str(tmp_path)))
    adopted, trained = (load_base(CONFIG, Folder.at(str(place)), 10, SHAPE) for place in (tmp_path, alone))
    assert all(torch.equal(a, b) for a, b in zip(adopted.parameters(), trained.parameters(), strict=True))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda w: w.pop("head.bias"), "lack head.bias of vit"),
        (lambda w: w.update(extra=torch.zeros(1)), "have extra, which vit lacks; see base.model.args"),
        (lambda w: w.update({"head.bias": torch.zeros(3)}), r"head.bias in .* has shape \(3,\), vit .* has \(10,\)"),
    ],
)
def test_a_file_of_another_model_is_refused(alone, tmp_path, change, text):
    weights = load_file(alone / WEIGHTS)
    change(weights)
    save_file(weights, tmp_path / "other.safetensors")
    given = CONFIG.replaced(base=CONFIG.base.replaced(weights=str(tmp_path / "other.safetensors")))
    with pytest.raises(ModelError, match=text):
        adopt_base(given, Folder.at(str(tmp_path)))


@pytest.mark.parametrize(("key", "use"), [("weights", adopt_base), ("pretrained", fit_base)])
def test_a_file_that_there_is_not(tmp_path, key, use):
    given = CONFIG.replaced(base=CONFIG.base.replaced(**{key: str(tmp_path / "none.safetensors")}))
    with pytest.raises(ConfigError, match=rf"base.{key}: there is no file '.*none.safetensors'"):
        use(given, Folder.at(str(tmp_path)))


def test_training_starts_from_a_file_but_for_a_head_of_other_classes(alone, tmp_path):
    weights = load_file(alone / WEIGHTS)
    weights |= {"head.weight": torch.zeros(1000, 24), "head.bias": torch.zeros(1000)}
    save_file(weights, tmp_path / "theirs.safetensors")
    given = CONFIG.replaced(base=CONFIG.base.replaced(pretrained=str(tmp_path / "theirs.safetensors")))
    found, new = (start_base(each, 10, SHAPE).state_dict() for each in (given, CONFIG))
    for name, value in found.items():
        assert torch.equal(value, (new if name.startswith("head.") else weights)[name])
    fit_base(given, Folder.at(str(tmp_path)))
    rows = [json.loads((place / RECORD).read_text())["epochs"] for place in (alone, tmp_path)]
    assert rows[1][0]["loss"] < rows[0][0]["loss"]


def test_training_starts_from_a_file_of_the_same_geometry_only(alone, tmp_path):
    weights = load_file(alone / WEIGHTS) | {"cls_token": torch.zeros(1, 1, 25)}
    save_file(weights, tmp_path / "theirs.safetensors")
    given = CONFIG.replaced(base=CONFIG.base.replaced(pretrained=str(tmp_path / "theirs.safetensors")))
    with pytest.raises(ModelError, match=r"cls_token in .* has shape \(1, 1, 25\), .*give weights of that geometry"):
        start_base(given, 10, SHAPE)


def test_a_base_teaches_its_logits_once(alone):
    place = Folder.at(str(alone))
    base = load_base(CONFIG, place, 10, SHAPE)
    first = teach(CONFIG, place, base)
    assert first.shape == (320, 10)
    with torch.no_grad():
        base.head.bias.add_(1.0)
    assert torch.equal(teach(CONFIG, place, base), first) and (alone / TEACHER).exists()
    samples = samples_of_split(CONFIG, "train")
    assert not torch.allclose(outputs(base, samples)[1], first)
