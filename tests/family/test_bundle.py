"""A family as a bundle: what is loaded is what was trained."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from raysplit.compress.quantizing_codec import extract
from raysplit.data import load, mean_std, prepare_batch
from raysplit.errors import BundleError, ConfigError
from raysplit.family import write_family
from raysplit.family.bundle import Family, load_family
from raysplit.folders.reader import read_run
from raysplit.folders.run_dir import RunDir
from raysplit.torch_utils.compute import autocast
from raysplit.train.local import train_local
from raysplit.utils.bundle import write_bundle
from raysplit.wire.message import parse
from tests.torch_utils.memory import CountBytes
from tests.train.recipes import family_config, squeezed_config

LEVELS = ["all·b4/b4·zstd", "c4·b4/b4·zstd", "c2·b8/b8"]
FILES = [f"levels/{i}.safetensors" for i in range(3)]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    config = family_config()
    path = tmp_path_factory.mktemp("run")
    # Long enough that the levels differ in what they get right.
    train_local(config.replaced(data=config.data.replaced(train_rows=960)), run_dir=str(path))
    return path


@pytest.fixture(scope="module")
def stored(run_dir, tmp_path_factory):
    return write_family(str(run_dir), str(tmp_path_factory.mktemp("bundle")))


@pytest.fixture
def copy(stored, tmp_path):
    return Path(shutil.copytree(stored, tmp_path / "copy"))


def accuracy(family: Family, level: str) -> float:
    """Score the test split as the loop does: batch by batch, each half by itself, through the bytes of a message."""
    config, codec = family.config, family.codec(level)
    device, server = family.device(level), family.server(level)
    if config.train.channels_last:
        device, server = device.to(memory_format=torch.channels_last), server.to(memory_format=torch.channels_last)
    images = load(config.data, "test")
    correct = 0
    for index, rows in enumerate(torch.arange(len(images.labels)).split(config.train.batch_size)):
        x = prepare_batch(images.images[rows], family.manifest.mean, family.manifest.std, "none", 0)
        with torch.no_grad(), autocast(torch.device("cpu"), config.train.precision):
            z = device(x.to(memory_format=torch.channels_last))
            message = codec.compress(z, index, device.encoder.choose_channels(codec.level.channels), None)
            y = extract(parse(message.to_bytes())).to(memory_format=torch.channels_last)
            correct += int((server(y).argmax(1) == images.labels[rows]).sum())
    return correct / len(images.labels)


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_has_the_accuracy_of_its_manifest(stored, level):
    family = load_family(stored)
    entry = next(entry for entry in family.levels if entry.level == level)
    assert accuracy(family, level) == entry.test_accuracy


def test_the_levels_differ(stored):
    assert len({entry.test_accuracy for entry in load_family(stored).levels}) == 3


def test_what_the_manifest_records(stored, run_dir):
    family, run = load_family(stored), RunDir.at(str(run_dir))
    manifest = family.manifest
    assert manifest.classes == tuple("0123456789") and manifest.shape == (1, 8, 8)
    assert (manifest.mean, manifest.std) == mean_std(load(family.config.data, "train").images)
    assert (manifest.cut, manifest.channel_dim, manifest.code_shape) == ("features.7", 1, (16, 2, 2))
    assert family.config == run.config()
    assert [entry.level for entry in family.levels] == LEVELS
    assert [entry.file for entry in family.levels] == FILES
    assert [entry.epochs for entry in family.levels] == [2, 1, 1]
    last, epoch = family.levels[-1], run.records()[-1]
    assert last.test_accuracy == run.summary().accuracy
    assert last.val_accuracy == epoch.val_accuracy and last.seconds == epoch.seconds
    sent = epoch.bytes.up_activations + epoch.bytes.up_labels + epoch.bytes.up_headers
    assert last.bytes_per_sample_up == sent / (30 * 32)
    # A header of 27 bytes and 4 for each of 4 dimensions, a bitmap of 16 channels, a range, 2 channels of 2×2 values.
    assert last.bytes_per_image == 27 + 16 + 2 + 8 + 8 and last.bytes_per_image_exact
    assert not family.levels[0].bytes_per_image_exact


def test_an_image_costs_what_the_manifest_says(stored):
    family = load_family(stored)
    x = torch.randn(1, *family.manifest.shape)
    for entry in family.levels:
        device, codec = family.device(entry.level), family.codec(entry.level)
        size = codec.compress(device(x), 0, device.encoder.choose_channels(codec.level.channels)).size
        assert size == entry.bytes_per_image if entry.bytes_per_image_exact else size <= entry.bytes_per_image


def test_halves_come_in_eval_mode_by_either_spelling_of_a_level(stored):
    family = load_family(stored)
    device, server = family.device("c4.b4/b4.zstd"), family.server("c4.b4/b4.zstd")
    assert not device.training and not server.training
    for key, tensor in family.device("c4·b4/b4·zstd").state_dict().items():
        assert tensor.equal(device.state_dict()[key])
    tight = family.server("c2·b8/b8").state_dict()
    assert any(not tensor.equal(tight[key]) for key, tensor in server.state_dict().items())
    with pytest.raises(BundleError, match=r"has no level 'c3·b4/b4·zstd'\. Nearest: c4·b4/b4·zstd"):
        family.device("c3·b4/b4·zstd")


def test_one_half_is_read_without_the_other(stored, copy):
    """A bundle may be stripped of what a device does not need, if its manifest is written anew."""
    half = {name: tensor for name, tensor in load_file(copy / FILES[1]).items() if name.startswith("device.")}
    manifest = json.loads((copy / "manifest.json").read_text())
    contents = {name: (copy / name).read_bytes() for name in manifest["files"]} | {FILES[1]: save(half)}
    family = load_family(write_bundle(str(copy), "family", manifest["about"], contents))
    family.device(LEVELS[1])
    with pytest.raises(
        BundleError, match=rf"^{FILES[1]} of family '{copy}' does not fit its config.json: .*Missing key"
    ):
        family.server(LEVELS[1])


def test_a_half_is_loaded_into_its_own_memory(stored):
    """Neither the other half's weights nor a first set of its own is allocated, nor is the file kept open."""
    family = load_family(stored)
    for load_half in (family.device, family.server):
        with CountBytes() as counted:
            state = load_half(LEVELS[0]).state_dict()
        own = sum(tensor.nbytes for tensor in state.values())
        assert own <= counted.total < 1.05 * own + 2**17
        assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in state.values())


@pytest.mark.parametrize(
    "stop_at", [pytest.param((1, 2), marks=pytest.mark.slow), (2, 1), pytest.param((3, 3), marks=pytest.mark.slow)]
)
def test_a_family_that_was_stopped_has_the_files_of_one_that_was_not(tmp_path, stop_at):
    """In the first level, right after it, in the last."""

    def stop(epoch, step, steps, loss):
        if (epoch, step) == stop_at:
            raise KeyboardInterrupt

    config = family_config()
    train_local(config, run_dir=str(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        train_local(config, run_dir=str(tmp_path / "stopped"), on_step=stop)
    assert len(list((tmp_path / "stopped").glob("levels/*"))) == stop_at[0] - 1
    with pytest.raises(ConfigError, match=r"has not ended; continue it with --resume"):
        write_family(str(tmp_path / "stopped"), str(tmp_path / "early"))
    train_local(config, run_dir=str(tmp_path / "stopped"))
    hashes = []
    for name in ("whole", "stopped"):
        path = Path(write_family(str(tmp_path / name), str(tmp_path / name / "family")))
        files = json.loads((path / "manifest.json").read_text())["files"]
        hashes.append([files[name]["sha256"] for name in FILES])
        assert hashes[-1] == [hashlib.sha256((path / name).read_bytes()).hexdigest() for name in FILES]
    assert hashes[0] == hashes[1] and len(set(hashes[0])) == 3


def test_a_damaged_level_is_refused_by_name(copy):
    data = bytearray((copy / FILES[2]).read_bytes())
    data[-1] ^= 1
    (copy / FILES[2]).write_bytes(data)
    with pytest.raises(BundleError, match=f"^{FILES[2]} of bundle '{copy}' is damaged"):
        load_family(str(copy))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda about: about["levels"].pop(),
            f"lists the levels {', '.join(LEVELS[:2])}; its config.json has {LEVELS[0]}",
        ),
        (lambda about: about["levels"].reverse(), "Write the family again from its run"),
        (lambda about: about.update(levels=[]), "lists the levels none;"),
        (lambda about: about["levels"][1].pop("file"), "is malformed: levels.1.file: Field required"),
        (lambda about: about.update(cat=1), "is malformed: unknown key 'cat'. Nearest: cut"),
        (lambda about: about["levels"][1].update(file="levels/7.safetensors"), "has no levels/7.safetensors"),
    ],
)
def test_a_wrong_list_of_levels(copy, change, says):
    manifest = json.loads((copy / "manifest.json").read_text())
    change(manifest["about"])
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError) as error:
        load_family(str(copy)).device(LEVELS[1])
    assert says in str(error.value) and str(copy) in str(error.value)


def test_a_run_of_another_schedule_keeps_the_level_that_it_ended_with(tmp_path):
    train_local(squeezed_config(), run_dir=str(tmp_path / "run"))
    assert not (tmp_path / "run" / "levels").exists()
    family = load_family(write_family(str(tmp_path / "run"), str(tmp_path / "family")))
    assert family.id == load_family(str(tmp_path / "run")).id
    (level,) = family.levels
    assert (level.level, level.epochs) == ("all·b8/b8", 1)
    assert level.test_accuracy == RunDir.at(str(tmp_path / "run")).summary().accuracy


def test_a_family_of_an_earlier_version_is_read(stored, copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    assert manifest["kind"] == "family" and manifest["about"].pop("answered_by") == "server"
    (copy / "manifest.json").write_text(json.dumps(manifest | {"kind": "prune_family"}))
    assert load_family(str(copy)).levels == load_family(stored).levels


def test_a_family_is_reported_on_like_its_run(stored, run_dir):
    assert read_run(stored).levels == read_run(str(run_dir)).levels
