"""What goes into each image: by the contexts of their builds, and in the slow lane by listing real ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from raysplit.cli.main import main
from raysplit.containers import images as images_module
from raysplit.containers.engine import Engine
from raysplit.containers.images import ImageSource, build_images, find_dockerfiles
from raysplit.ensemble.bundle import load_ensemble
from raysplit.errors import BundleError, ConfigError

ROOT = Path(__file__).parents[2]


class Recorder(Engine):
    """An engine that writes down what it is asked to build."""

    builds: list[tuple[str, list[str], dict[str, str], dict[str, str]]]

    def build(self, dockerfile: Path, context: Path, tag: str, arguments: Mapping[str, str], labels: Mapping[str, str]):
        names = sorted(str(path.relative_to(context)) for path in context.rglob("*") if path.is_file())
        self.builds.append((tag, [dockerfile.name, *names], dict(arguments), dict(labels)))

    def layer_bytes(self, tag: str) -> int:
        return 2**20 * (100 + ("submodel" in tag))


@pytest.fixture
def engine(monkeypatch, tmp_path):
    (tmp_path / "raysplit-1-py3-none-any.whl").write_text("")
    wheel = tmp_path / "raysplit-1-py3-none-any.whl"
    monkeypatch.setattr(images_module._Builder, "_wheel", lambda _: wheel)
    recorder = Recorder("podman")
    object.__setattr__(recorder, "builds", [])
    return recorder


def test_each_sub_models_image_adds_its_weights_alone(bundle, engine):
    built = build_images(bundle, "localhost/raysplit", engine, ImageSource(base="debian-python"))
    ensemble = load_ensemble(bundle)
    tag = f"2.60.0-{ensemble.id[:12]}"
    parts = ["server", *(f"submodel-{index}" for index in range(3))]
    assert [image.role for image in built] == parts
    assert [image.name for image in built] == [f"localhost/raysplit-{part}:{tag}" for part in parts]
    (_, server, arguments, labels), *others = engine.builds
    wheel = "raysplit-1-py3-none-any.whl"
    files = ["bundle/fusion.safetensors", "bundle/manifest.json", wheel, "server.lock"]
    assert server == ["server.Dockerfile", *files] and arguments == {"BASE": "debian-python"}
    assert labels["io.github.raysplit.bundle"] == ensemble.id and labels["io.github.raysplit.ray"] == "2.60.0"
    for index, (_, context, arguments, labels) in enumerate(others):
        assert context == ["submodel.Dockerfile", f"submodels/{index}.safetensors"]
        assert arguments == {"SERVER": built[0].name} and labels["io.github.raysplit.submodels"] == str(index)
    weights = [ensemble.files[entry.file].bytes / 2**20 for entry in ensemble.manifest.submodels]
    assert [image.weights_mib for image in built[1:]] == weights and [image.added_mib for image in built[1:]] == [1] * 3


def test_an_image_for_each_device_has_all_of_its_sub_models(bundle, engine):
    _, *built = build_images(bundle, "localhost/raysplit", engine, per="device")
    entries = load_ensemble(bundle).manifest.submodels
    devices = list(dict.fromkeys(entry.device for entry in entries))
    assert [image.role for image in built] == devices
    for device, (_, context, _, labels) in zip(devices, engine.builds[1:], strict=True):
        own = [index for index, entry in enumerate(entries) if entry.device == device]
        assert context == ["submodel.Dockerfile", *(f"submodels/{index}.safetensors" for index in own)]
        assert labels["io.github.raysplit.submodels"] == ",".join(map(str, own))


def test_a_family_has_a_server_and_a_device(family, engine):
    location = family.location if hasattr(family, "location") else family._bundle.location
    server, device = build_images(location, "localhost/raysplit", engine)
    assert (server.role, device.role) == ("server", "device")
    (_, first, _, _), (_, second, _, labels) = engine.builds
    assert "bundle/manifest.json" in first and "server.lock" in first
    assert "family/manifest.json" in second and "device.lock" in second and "server.lock" not in second
    assert "io.github.raysplit.ray" not in labels


def test_errors(bundle, engine, tmp_path, monkeypatch):
    with pytest.raises(BundleError, match="is not a bundle"):
        build_images(str(tmp_path / "nowhere"), "localhost/raysplit", engine)
    with pytest.raises(ConfigError, match="has no server.Dockerfile; name the folder docker/"):
        find_dockerfiles(str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="podman is not installed; install it, or choose another --engine"):
        Engine.find("podman")


def test_a_build_that_fails_ends_with_its_last_lines(tmp_path, monkeypatch):
    (tmp_path / "podman").write_text("#!/bin/sh\necho one\necho the reason\nexit 1\n")
    (tmp_path / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ConfigError, match=r"podman could not build x:1 by .*: one \| the reason"):
        Engine.find("podman").build(tmp_path / "Dockerfile", tmp_path, "x:1", {}, {})
    with pytest.raises(ConfigError, match="podman image inspect x:1 failed"):
        Engine.find("podman").layer_bytes("x:1")


def test_sizes_as_buildah_prints_them(tmp_path, monkeypatch):
    (tmp_path / "buildah").write_text("""#!/bin/sh\necho '[{"size": "1.74 GB"}]'\n""")
    (tmp_path / "buildah").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Engine.find("buildah").layer_bytes("x:1") == 1_740_000_000


def test_the_dockerfiles_are_clean():
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    files = sorted(map(str, (ROOT / "docker").glob("*.Dockerfile")))
    done = subprocess.run([hadolint, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_images_are_of_a_user_and_have_health_checks():
    for role in ("server", "device"):
        text = (ROOT / f"docker/{role}.Dockerfile").read_text()
        assert re.search(r"^USER 10001$", text, re.M) and re.search(r"^HEALTHCHECK ", text, re.M)
        assert text.count("ARG BASE=") == 1 and "--require-hashes" in text


BASE = os.environ.get("RAYSPLIT_TEST_BASE")
"""An image with Python 3.11 that can be had here; TORCH_INDEX is passed on."""


@pytest.mark.slow
@pytest.mark.skipif(BASE is None or shutil.which("podman") is None, reason="no RAYSPLIT_TEST_BASE, or no Podman")
def test_real_images(bundle, capsys):
    words = ["image", bundle, "--engine", "podman", "--name", "localhost/raysplit-test", "--base", str(BASE)]
    if index := os.environ.get("TORCH_INDEX"):
        words += ["--torch-index", index]
    assert main(words) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    for position, (name, _, added, weights) in enumerate(rows[1:]):
        assert float(added) <= float(weights) + 20
        script = "find /bundle -type f; id -u; touch /x 2>/dev/null || echo read-only"
        done = subprocess.run(
            ["podman", "run", "--rm", "--read-only", name, "/bin/sh", "-c", script], capture_output=True, text=True
        )
        files = ["/bundle/fusion.safetensors", "/bundle/manifest.json", f"/bundle/submodels/{position}.safetensors"]
        *found, user, root = done.stdout.split()
        assert sorted(found) == files and user == "10001" and root == "read-only"
        [image] = json.loads(
            subprocess.run(["podman", "image", "inspect", name], capture_output=True, text=True).stdout
        )
        assert image["Labels"]["io.github.raysplit.submodels"] == str(position)


REDIS = os.environ.get("RAYSPLIT_TEST_REDIS")
"""An image with redis-server that can be had here."""


@pytest.mark.slow
@pytest.mark.skipif(BASE is None or REDIS is None or os.geteuid() != 0, reason="no images to test with, or not root")
def test_the_example_in_a_short_form(bundle, tmp_path):
    """After `test_real_images`: one container is killed under load."""
    words = ["--images", "localhost/raysplit-test", "--redis", str(REDIS), "--results", str(tmp_path)]
    example = [sys.executable, str(ROOT / "examples/containers/run.py"), bundle, *words]
    subprocess.run([*example, "--faults", "killed", "--seconds", "3", "--clients", "4"], check=True)
    result = json.loads((tmp_path / "containers.json").read_text())
    assert result["requests"] > 0 and (result["lost"], result["wrong"]) == (0, 0)
    assert [row["after"]["degraded"] for row in result["faults"]] == [0, 0]
