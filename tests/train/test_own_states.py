"""Weights that stay on their device: what the server's checkpoint has of them, resuming, and the family of a run."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from raysplit.config import CheckpointConfig, Level, Nested, Prune, SplitConfig, parse
from raysplit.errors import BundleError, ConfigError
from raysplit.family import load_family, load_run
from raysplit.folders.run_dir import RunDir
from raysplit.schedules import Decision
from raysplit.torch_utils.checkpoint import pack_state
from raysplit.train.family import write_family
from raysplit.train.local import train_local
from raysplit.train.local_device import make_local_devices
from raysplit.train.loop import Loop
from raysplit.train.own_states import OwnStates, StateReference
from tests.train.many import many_config
from tests.train.recipes import plain_config
from tests.train.test_devices import assert_same, plainly
from tests.train.test_recovery import start


def at_home(config: SplitConfig, tmp_path: Path) -> SplitConfig:
    return config.replaced(checkpoint=CheckpointConfig(device="local", folder=str(tmp_path / "own")))


def make_loop(config: SplitConfig) -> Loop:
    return Loop(config, make_local_devices(config), resumed=False)


def network_of(loop: Loop, index: int) -> dict[str, torch.Tensor]:
    """Everything that a device has trained, and its optimizer's momentum."""
    net = loop._fleet.members[index].device._side._net
    moments = {f"moment {i}": moment for i, moment in enumerate(net.optimizer.moments())}
    return plainly(net.trained.state_dict()) | moments


def files(tmp_path: Path, device: int = 0) -> list[Path]:
    return sorted((tmp_path / "own").glob(f"{device:05d}-*/*.pt"))


@pytest.mark.parametrize(
    ("mode", "count", "cut_back"), [("relay", 1, "7"), ("merged", 3, None), ("splitfed_v1", 2, "7")]
)
def test_a_run_goes_on_from_states_on_the_devices(tmp_path, mode, count, cut_back):
    plain = many_config(mode, count).replaced(cut_back=cut_back)
    known = make_loop(plain)
    list(known.epochs())
    config = at_home(plain, tmp_path)
    loop = make_loop(config)
    next(epochs := loop.epochs())
    state = loop.state()
    epochs.close()
    other = make_loop(config)
    other.restore(state)
    list(other.epochs())
    for index in range(count):
        assert_same(network_of(other, index), network_of(known, index))
    assert_same(plainly(other.weights()["server"]), plainly(known.weights()["server"]))
    assert [row.bytes for row in other.records] == [row.bytes for row in known.records]
    assert len({path.parent for path in (tmp_path / "own").glob("*/*.pt")}) == count, "one folder for each"


def test_the_server_has_an_id_and_a_hash(tmp_path):
    loop = make_loop(at_home(many_config("splitfed_v2", 1), tmp_path))
    next(epochs := loop.epochs())
    state = loop.state()
    epochs.close()
    reference = StateReference.parse(state["device"])
    assert (reference.device, Path(reference.path)) == (0, files(tmp_path)[-1])
    assert Path(reference.path).stem.endswith(f"-{reference.sha256}")
    assert reference.id == Path(reference.path).parent.name
    assert loop.checkpoint_bytes == len(state["device"]) < 1000
    packed = pack_state(state)
    held = [tensor.numpy().tobytes() for tensor in network_of(loop, 0).values()]
    assert not [data for data in held if len(data) >= 16 and data in packed]
    assert [data for data in held if data in Path(reference.path).read_bytes()], "the same search finds them there"
    assert set(loop.weights()) == {"server"}


def test_a_device_that_lacks_its_state_or_has_another_is_named(tmp_path):
    config = at_home(many_config("merged", 3), tmp_path)
    loop = make_loop(config)
    next(epochs := loop.epochs())
    state = loop.state()
    epochs.close()
    hashes = [StateReference.parse(data).sha256[:12] for data in (state["device"], *state["devices"])]
    moved = {path: path.rename(tmp_path / path.name) for device in (0, 2) for path in files(tmp_path, device)}
    with pytest.raises(ConfigError) as caught:
        make_loop(config).restore(state)
    text = str(caught.value)
    for device in (0, 2):
        assert f"device {device} on " in text and f"lacks its state {hashes[device]}" in text
    assert "device 1" not in text and "bring the file back" in text and "\n" not in text
    for path, away in moved.items():
        away.rename(path)
    (own := Path(StateReference.parse(state["devices"][0]).path)).write_bytes(b"another")
    with pytest.raises(
        ConfigError, match=f"another state of device 1: its sha256 is .*, the checkpoint has {hashes[1]}"
    ):
        make_loop(config).restore(state)
    own.rename(own.with_name(f"00000001-{64 * 'a'}.pt"))
    with pytest.raises(ConfigError, match="has only aaaaaaaaaaaa"):
        make_loop(config).restore(state)


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    plain = many_config("merged", 1)
    loop = make_loop(plain)
    with pytest.raises(ConfigError, match="go on with the config that the run began with"):
        make_loop(at_home(plain, tmp_path)).restore(loop.state())
    outside = OwnStates(str(tmp_path), 0, 2).save(b"x").replace(b'"id": "00000-', b'"id": "../x-')
    with pytest.raises(ConfigError, match="an id and a hash"):
        StateReference.parse(outside)


def test_states_that_no_checkpoint_needs_are_deleted(tmp_path):
    own = OwnStates(str(tmp_path / "own"), 0, keep=3)
    references = [own.save(f"state {number}".encode()) for number in range(6)]
    assert [own.load(reference) for reference in references[3:]] == [b"state 3", b"state 4", b"state 5"]
    assert len(files(tmp_path)) == 3
    again = OwnStates(str(tmp_path / "own"), 0, keep=3)
    assert again.load(references[4]) == b"state 4"
    again.save(b"state 6")
    assert len(files(tmp_path)) == 3 and own.load(references[5]) == b"state 5", "a run that goes on keeps its folder"
    OwnStates(str(tmp_path / "own"), 0, keep=3).save(b"another run")
    assert own.load(references[5]) == b"state 5"


def test_both_checkpoints_of_a_run_can_be_restored(tmp_path):
    config = at_home(many_config("merged", 2, epochs=9, per_round=1), tmp_path)
    config = config.replaced(ray=config.ray.replaced(max_failures=0))
    states, loop = [], make_loop(config)
    for _ in loop.epochs():
        states.append(loop.state())
    for state in states[-2:]:
        make_loop(config).restore(state)
    assert len(files(tmp_path)) <= 4


@pytest.mark.parametrize("cut_back", [None, "features.14"])
def test_the_family_of_a_run_is_made_once_the_device_half_is_there(tmp_path, caplog, cut_back):
    plain = plain_config().replaced(cut="features.3", cut_back=cut_back)
    known = train_local(plain, str(tmp_path / "known"))
    run = train_local(at_home(plain, tmp_path), str(tmp_path / "run")).run_dir
    folder = RunDir.at(run)
    assert not folder.has("device.safetensors") and not folder.has("tail.safetensors") and not folder.has("family")
    reference = StateReference.parse(folder.read("device.json"))
    needed = f"the device half of run '{run}' has stayed on device 0 ({reference.node}), in {reference.path}"
    assert needed in caplog.text
    with pytest.raises(BundleError) as caught:
        load_run(run)
    assert needed in str(caught.value) and "raysplit.write_family(" in str(caught.value)
    there = Path(reference.path).rename(tmp_path / "copied.pt")
    with pytest.raises(ConfigError, match="has stayed on device 0"):
        write_family(run, f"{run}/family")
    with pytest.raises(ConfigError, match="'nowhere.pt' does not exist"):
        write_family(run, f"{run}/family", device="nowhere.pt")
    with pytest.raises(ConfigError, match="another state of device 0"):
        write_family(run, f"{run}/family", device=str(tmp_path / "known" / "server.safetensors"))
    assert not folder.has("family")
    write_family(run, f"{run}/family", device=str(there))
    family, other = load_family(run), load_family(known.run_dir)
    level = other.levels[0].level
    assert_same(plainly(family.device(level).state_dict()), plainly(other.device(level).state_dict()))
    assert_same(plainly(family.server(level).state_dict()), plainly(other.server(level).state_dict()))
    assert load_run(run).accuracy == known.accuracy


def test_where_it_was_written_it_is_found(tmp_path):
    run = train_local(at_home(many_config("fedavg", 2, epochs=1).replaced(
        model=plain_config().model, cut="features.3"
    ), tmp_path), str(tmp_path / "run")).run_dir  # fmt: skip
    assert not RunDir.at(run).has("server.safetensors"), "in fedavg a device has all of the network"
    write_family(run, f"{run}/family")
    assert RunDir.at(run).has("server.safetensors") and load_run(run).level == "all·b32/b32"


@pytest.mark.parametrize("method", ["exchange", "weights"])
def test_a_device_that_is_started_anew_finds_its_state(tmp_path, method):
    plain = many_config("merged")
    known = make_loop(plain)
    list(known.epochs())
    loop, _, replaced = start(at_home(plain, tmp_path), method, 2)
    list(loop.epochs())
    assert replaced == [1]
    assert_same(plainly(loop.weights()["server"]), plainly(known.weights()["server"]))


def test_weights_that_are_averaged_cross_and_the_run_says_so(tmp_path, caplog):
    for mode, count, says in (("merged", 2, True), ("relay", 2, True), ("merged", 1, False)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            run = train_local(at_home(many_config(mode, count, epochs=1), tmp_path), str(tmp_path / f"{mode}{count}"))
        assert (f"devices.mode={mode} makes it common in each round" in caplog.text) is says
        (row,) = RunDir.at(run.run_dir).records()
        assert (row.bytes.up_weights > 0) is says


class Keeping:
    """A schedule that keeps the network of its only epoch."""

    def levels(self):
        return (Level(),)

    def decide(self, context, history):
        return Decision(Level(), "to keep", ends_level=True)


def test_settings_that_do_not_go_together_are_refused(tmp_path):
    home = {"device": "local", "folder": str(tmp_path)}
    phases = [{"level": "all.b4/b4", "share": 1}]
    nested = Nested(phases=[{"levels": ["all.b4/b4"], "share": 1, "keep": True}])
    tree = plain_config().model_dump(mode="json")
    for changes, text in (
        ({"checkpoint": {"device": "local"}}, "set checkpoint.folder"),
        ({"checkpoint": {"folder": "/own"}}, "checkpoint.folder is read with checkpoint.device=local"),
        ({"checkpoint": home | {"folder": "own"}}, "'own' is not an absolute path"),
        ({"checkpoint": home | {"folder": "s3://own"}}, "'s3://own' is not an absolute path"),
        ({"checkpoint": home, "schedule": Prune(phases=phases).model_dump(mode="json")}, "prune keeps the network"),
        ({"checkpoint": home, "schedule": nested.model_dump(mode="json")}, "nested with keep keeps the network"),
    ):
        with pytest.raises(ConfigError) as caught:
            parse(SplitConfig, tree | changes, "the recipe")
        assert text in str(caught.value)
    own = at_home(many_config("merged", 1), tmp_path).replaced(schedule=Keeping())
    with pytest.raises(ConfigError, match="set checkpoint.device to server"):
        list(make_loop(own).epochs())
    assert "checkpoint" not in tree, "files of other runs are as they were"
