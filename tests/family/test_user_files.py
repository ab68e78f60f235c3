"""A family that was trained with a network or codec in a user's own file, which it holds."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch

from raysplit.cli.main import main
from raysplit.device.halves import DeviceHalves
from raysplit.errors import BundleError, RequestError
from raysplit.family import load_family, load_run, write_family
from raysplit.family.export import export
from raysplit.serving.args import Limits
from raysplit.serving.split.server_halves import ServerHalves
from raysplit.train.local import train_local
from tests.train.recipes import family_config, plain_config
from tests.train.test_extensions import OWN

NET = """
from torch import nn

def net(classes, shape, width=4):
    return nn.Sequential(
        nn.Conv2d(shape[0], width, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * width, classes)
    )
"""


@pytest.fixture
def config(tmp_path):
    """Of a network and a codec in two files of one name."""
    for part, text in (("nets", NET), ("codecs", OWN)):
        (tmp_path / part).mkdir()
        (tmp_path / part / "own.py").write_text(text)
    settings = [f"model.name={tmp_path}/nets/own.py:net", "model.args={width: 2}", "cut=1", "train.epochs=1"]
    return plain_config().with_settings([*settings, f"codec={tmp_path}/codecs/own.py:Half", "train.precision=fp32"])


def test_it_is_served_with_its_codec(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    config = family_config().with_settings([f"codec={tmp_path}/own.py:Half", "train.precision=fp32"])
    train_local(config, str(tmp_path / "run"))
    location = write_family(str(tmp_path / "run"), str(tmp_path / "family"))
    (tmp_path / "own.py").unlink()
    family = load_family(location)
    values = torch.Size(family.manifest.code_shape).numel()
    assert {level.bytes_per_image - 2 * values for level in family.levels} == {27 + 4 * 4}

    level, images = family.levels[1].level, torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    message = DeviceHalves(family).encode(images, level)
    assert len(message.body) == 3 * 2 * values
    server = ServerHalves(family, Limits())
    assert server.predict(message.to_bytes(), level, family.id).probabilities.shape == (3, 10)
    short = message.__class__(message.kind, 0, message.shape, message.dtype, 16, message.body[:-2])
    with pytest.raises(RequestError, match="codec.py:Half cannot extract ACTIVATION 0 of .* bytes"):
        server.predict(short.to_bytes(), level, family.id)


def test_its_bundle_needs_no_other_file(config, tmp_path, capsys):
    run = str(tmp_path / "run")
    accuracy = train_local(config, run).accuracy
    images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    logits = load_run(run)(images)
    shutil.copytree(tmp_path / "run/family", tmp_path / "elsewhere")
    (tmp_path / "nets/own.py").write_text("raise RuntimeError('another file')")
    (tmp_path / "codecs/own.py").unlink()
    again = write_family(run, str(tmp_path / "again"))
    shutil.rmtree(run)

    network = load_run(str(tmp_path / "elsewhere"))
    assert network.accuracy == accuracy and torch.equal(network(images), logits)
    assert load_family(again).id == network.family.id and network.family.code == ("code/model.py", "code/codec.py")
    export(str(tmp_path / "elsewhere"), "whole", str(tmp_path / "whole.pt2"))
    assert main(["inspect", str(tmp_path / "elsewhere")]) == 0
    assert "code:      code/model.py, code/codec.py (runs when the network is loaded)" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "elsewhere"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["code"] == ["code/model.py", "code/codec.py"]
    assert not list(tmp_path.glob("elsewhere/**/*.pyc"))


def test_a_changed_file_in_a_bundle_does_not_run(config, tmp_path):
    train_local(config, str(tmp_path / "run"))
    (tmp_path / "run/family/code/model.py").write_text(f"open('{tmp_path}/ran', 'w')")
    with pytest.raises(BundleError, match=r"code/model.py of bundle .* is damaged"):
        load_run(str(tmp_path / "run"))
    assert not (tmp_path / "ran").exists()


def test_inspecting_a_bundle_runs_none_of_its_code(config, tmp_path):
    own = tmp_path / "nets/own.py"
    own.write_text(f"open('{tmp_path}/ran', 'a').write('.')\n{NET}")
    train_local(config, str(tmp_path / "run"))
    (tmp_path / "ran").unlink()
    for words in (["inspect"], ["report", "-o", str(tmp_path / "report.html")]):
        assert main([*words, str(tmp_path / "run")]) == 0
    assert not (tmp_path / "ran").exists()
    load_family(str(tmp_path / "run")).server("all.b32/b32")
    assert (tmp_path / "ran").exists()


def test_a_run_of_an_earlier_version_takes_the_files_as_they_are(config, tmp_path):
    train_local(config, str(tmp_path / "run"))
    shutil.rmtree(tmp_path / "run/code")
    earlier = write_family(str(tmp_path / "run"), str(tmp_path / "family"))
    assert load_family(earlier).id == load_family(str(tmp_path / "run")).id


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("import layers", "layers"),
        ("from layers.conv import Conv", "layers"),
        ("def late():\n    import layers as own", "layers"),
        ("import json, math, numpy", None),
        ("from torch import nn", None),
    ],
)
def test_what_a_file_imports_from_beside_it_is_named(config, tmp_path, caplog, monkeypatch, line, named):
    (tmp_path / "nets/layers").mkdir()
    (tmp_path / "nets/layers/__init__.py").write_text("")
    (tmp_path / "nets/layers/conv.py").write_text("Conv = None")
    (tmp_path / "nets/own.py").write_text(f"{line}\n{NET}")
    monkeypatch.syspath_prepend(str(tmp_path / "nets"))
    with caplog.at_level(logging.WARNING):
        train_local(config, str(tmp_path / "run"))
    warned = [text for text in caplog.messages if "which a family does not hold" in text]
    assert warned == (
        [f"own.py imports {named}, which a family does not hold: where it is loaded, it must be importable"]
        if named
        else []
    )
