"""The base: trained, also by several processes, imported from files, and its logits as a teacher's."""

from __future__ import annotations

import json

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load, load_file, save, save_file
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
from raysplit.data import read_facts
from raysplit.ensemble.base_classifier import (
    import_base,
    initial_base,
    load_base,
    load_or_compute_teacher_logits,
    train_base,
)
from raysplit.ensemble.check import check_build
from raysplit.ensemble.context import open_build, read_normalization
from raysplit.ensemble.forward import compute_outputs
from raysplit.ensemble.trainer import DataParallel
from raysplit.ensemble.weights_file import pack, unpack
from raysplit.errors import BundleError, ConfigError, DivergenceError, ModelError
from raysplit.folders.build_dir import BASE_RECORD, BASE_STATE, BASE_WEIGHTS, TEACHER_LOGITS, BuildDir
from raysplit.records.build_stages import Normalization
from raysplit.torch_utils.checkpoint import pack_state, unpack_state
from tests.ensemble.tiny_build import config

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
DATA = read_facts(CONFIG.data)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    train_base(open_build(CONFIG, str(folder)), print)
    return folder


def _train_share(rank: int, world: int, folder: str, text: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=world)
    context = open_build(EnsembleConfig.model_validate_json(text), folder)
    train_base(context, print, DataParallel(rank, world, DistributedDataParallel))
    dist.destroy_process_group()


@pytest.mark.slow  # tests/ensemble/test_ray_runner.py has two workers on Ray
def test_two_processes_train_the_base_that_one_does(alone, tmp_path):
    torch.multiprocessing.spawn(_train_share, (2, str(tmp_path), CONFIG.model_dump_json()), nprocs=2)
    one, two = load_file(alone / BASE_WEIGHTS), load_file(tmp_path / BASE_WEIGHTS)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)
    rows = [json.loads((place / BASE_RECORD).read_text())["epochs"] for place in (alone, tmp_path)]
    assert [row["val_accuracy"] for row in rows[0]] == pytest.approx([row["val_accuracy"] for row in rows[1]], abs=0.05)


def test_a_file_with_the_models_names_is_imported(alone, tmp_path):
    found = read_normalization(CONFIG)
    base = CONFIG.base.replaced(weights=str(alone / BASE_WEIGHTS), mean=found.mean, std=found.std)
    import_base(open_build(CONFIG.replaced(base=base), str(tmp_path)))
    imported, trained = (load_base(open_build(CONFIG, str(folder))) for folder in (tmp_path, alone))
    assert all(torch.equal(a, b) for a, b in zip(imported.parameters(), trained.parameters(), strict=True))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda w: w.pop("head.bias"), "does not fit vit: head.bias: 10 in the network, not in the file"),
        (lambda w: w.update(extra=torch.zeros(1)), "does not fit vit: extra: 1 in the file, not in the network"),
        (lambda w: w.update({"head.bias": torch.zeros(3)}), "head.bias: 3 in the file, 10 in the network"),
    ],
)
def test_a_file_of_another_model_is_refused(alone, tmp_path, change, text):
    weights = load_file(alone / BASE_WEIGHTS)
    change(weights)
    save_file(weights, tmp_path / "other.safetensors")
    given = CONFIG.replaced(base=CONFIG.base.replaced(weights=str(tmp_path / "other.safetensors")))
    with pytest.raises(ModelError, match=text):
        import_base(open_build(given, str(tmp_path)))


@pytest.mark.parametrize(
    ("key", "use"), [("weights", import_base), ("pretrained", lambda context: train_base(context, print))]
)
def test_a_missing_file_is_named(tmp_path, key, use):
    given = CONFIG.replaced(base=CONFIG.base.replaced(**{key: str(tmp_path / "none.safetensors")}))
    with pytest.raises(ConfigError, match=rf"base.{key}: '.*none.safetensors' is not a file here; name a .safetensors"):
        use(open_build(given, str(tmp_path)))


def test_training_starts_from_a_file_but_for_a_head_of_other_classes(alone, tmp_path):
    weights = load_file(alone / BASE_WEIGHTS)
    weights |= {"head.weight": torch.zeros(1000, 24), "head.bias": torch.zeros(1000)}
    save_file(weights, tmp_path / "theirs.safetensors")
    given = CONFIG.replaced(base=CONFIG.base.replaced(pretrained=str(tmp_path / "theirs.safetensors")))
    found, new = (initial_base(each, DATA)[0].state_dict() for each in (given, CONFIG))
    for name, value in found.items():
        assert torch.equal(value, (new if name.startswith("head.") else weights)[name])
    train_base(open_build(given, str(tmp_path)), print)
    rows = [json.loads((place / BASE_RECORD).read_text())["epochs"] for place in (alone, tmp_path)]
    assert rows[1][0]["loss"] < rows[0][0]["loss"]


def test_training_starts_from_a_file_of_the_same_geometry_only(alone, tmp_path):
    weights = load_file(alone / BASE_WEIGHTS) | {"cls_token": torch.zeros(1, 1, 25)}
    save_file(weights, tmp_path / "theirs.safetensors")
    given = CONFIG.replaced(base=CONFIG.base.replaced(pretrained=str(tmp_path / "theirs.safetensors")))
    with pytest.raises(ModelError, match="cls_token: 1×1×25 in the file, 1×1×24 in the network"):
        initial_base(given, DATA)


@pytest.mark.parametrize("key", ["base.pretrained", "base.model.weights"])
def test_files_of_torch_save_with_prefixes_start_it_too(alone, tmp_path, key, caplog):
    weights = load_file(alone / BASE_WEIGHTS)
    held = {f"module.{name}": value for name, value in weights.items()} | {"module.head.bias": torch.zeros(7)}
    held["module.head.weight"] = torch.zeros(7, 24)
    torch.save({"state_dict": held, "epoch": 3}, tmp_path / "theirs.pth")
    with caplog.at_level("INFO"):
        found = initial_base(CONFIG.with_settings([f"{key}={tmp_path}/theirs.pth"]), DATA)[0].state_dict()
    assert all(value.equal(weights[name]) for name, value in found.items() if not name.startswith("head."))
    assert "prefix 'module.' left out" in caplog.text and "for 10 classes in place of 7" in caplog.text


def test_the_base_is_a_file_of_torch_save(alone, tmp_path):
    weights = load_file(alone / BASE_WEIGHTS)
    torch.save({f"_orig_mod.{name}": value for name, value in weights.items()}, tmp_path / "base.pth")
    found = initial_base(CONFIG.with_settings([f"base.weights={tmp_path}/base.pth"]), DATA)[0].state_dict()
    assert all(value.equal(weights[name]) for name, value in found.items())


def test_a_stopped_training_continues_without_its_file(alone, tmp_path):
    """Frozen parameters rest, images are normalized as the file says, and the end is that of a training in one go."""
    save_file(load_file(alone / BASE_WEIGHTS), tmp_path / "theirs.safetensors", {"mean": "[0.25]", "std": "[0.125]"})
    settings = [f"base.model.weights={tmp_path}/theirs.safetensors", "base.model.normalize=auto"]
    given = CONFIG.with_settings([*settings, "base.freeze=[blocks.0.*, '*.bias']"])

    def build(folder, log):
        context = open_build(given, str(tmp_path / folder))
        assert context.normalization == Normalization(mean=(0.25,), std=(0.125,))
        train_base(context, log)

    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    build("whole", print)
    with pytest.raises(Stop):
        build("stopped", stop)
    (tmp_path / "theirs.safetensors").unlink()
    build("stopped", print)
    records = [BuildDir.at(str(tmp_path / name)).base_record() for name in ("whole", "stopped")]
    assert records[0].weights == records[1].weights is not None
    whole, stopped = (load_file(tmp_path / name / BASE_WEIGHTS) for name in ("whole", "stopped"))
    assert all(value.equal(stopped[name]) for name, value in whole.items())
    start = load_file(alone / BASE_WEIGHTS)
    moved = {name for name, value in whole.items() if not value.equal(start[name])}
    assert moved == {name for name in start if not name.startswith("blocks.0.") and not name.endswith(".bias")}


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("block.0.*", "base.freeze: 'block.0.*' matches none of the network's .* parameters. Nearest: blocks.0."),
        ("head", r"'head' matches none .* Write 'head\.\*' for all of head"),
        ("*", "base.freeze leaves no parameter to train; leave the last layers out of it"),
    ],
)
def test_patterns_that_cannot_be_meant_are_found_before_a_build(pattern, text):
    with pytest.raises(ConfigError, match=text):
        check_build(CONFIG.replaced(base=CONFIG.base.replaced(freeze=(pattern,))), DATA)


def test_the_teachers_logits_are_computed_once(alone):
    context = open_build(CONFIG, str(alone))
    base = load_base(context)
    first = load_or_compute_teacher_logits(context, base)
    assert first.shape == (320, 10)
    with torch.no_grad():
        base.head.bias.add_(1.0)
    assert torch.equal(load_or_compute_teacher_logits(context, base), first) and (alone / TEACHER_LOGITS).exists()
    assert not torch.allclose(compute_outputs(base, context.load_samples("train")).logits, first)


def test_a_stopped_training_continues_with_its_epoch(built, tmp_path):
    folder, _ = built

    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    with pytest.raises(Stop):
        train_base(open_build(config(), str(tmp_path)), stop)
    lines = []
    train_base(open_build(config(), str(tmp_path)), lines.append)
    assert len(lines) == 1 and lines[0].startswith("base epoch 2/2")
    assert (tmp_path / BASE_WEIGHTS).read_bytes() == (folder / BASE_WEIGHTS).read_bytes()
    assert not (tmp_path / BASE_STATE).exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e38, f"^the base has diverged in epoch 2/2, step 1/.*; begin again .* good checkpoint is .*/{BASE_STATE}$"),
        (float("nan"), r"^the base has diverged before its last checkpoint: .* is NaN or infinite there; begin again"),
    ],
)
def test_a_base_that_diverges_is_not_written(tmp_path, value, text):
    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    with pytest.raises(Stop):
        train_base(open_build(config(), str(tmp_path)), stop)
    state = unpack_state((tmp_path / BASE_STATE).read_bytes())
    for tensor in state["weights"].values():
        tensor.fill_(value)
    (tmp_path / BASE_STATE).write_bytes(pack_state(state))
    with pytest.raises(DivergenceError, match=text):
        train_base(open_build(config(), str(tmp_path)), print)
    assert not (tmp_path / BASE_WEIGHTS).exists() and not (tmp_path / BASE_RECORD).exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_file_with_nan_is_refused(tmp_path, precision):
    data = pack({"head.weight": torch.ones(4, 4), "head.bias": torch.zeros(4)}, precision)
    stored = load(data)
    name = next(name for name, tensor in stored.items() if tensor.is_floating_point())
    stored[name].fill_(float("nan"))
    about = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    with pytest.raises(BundleError, match="^head.* in the file holds NaN: it comes from a training that diverged; use"):
        unpack(save(stored, about), "the file")
