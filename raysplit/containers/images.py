"""Builds the images of a bundle: a server, and one for each sub-model; of a family, a server and a device's client."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from raysplit.containers.engine import Engine
from raysplit.containers.image_names import RAY_VERSION, ImageNames
from raysplit.containers.parts import Per, plan_application
from raysplit.ensemble.bundle import FUSION, KIND, load_ensemble
from raysplit.errors import ConfigError
from raysplit.family.bundle import find_family, load_family
from raysplit.utils.bundle import MANIFEST, read_kind
from raysplit.utils.storage import Folder
from raysplit.utils.version import find_version

_LABELS = "io.github.raysplit"
_WHEEL_DATE = "946684800"
"""Of all files in the wheel, in seconds: the same sources are the same wheel, whose layer is built once."""


@dataclass(frozen=True)
class ImageSource:
    """The base of the images, and where torch comes from; None: what the Dockerfiles say."""

    base: str | None = None
    torch_index: str | None = None

    def arguments(self) -> dict[str, str]:
        """Return the arguments of a build."""
        given = {"BASE": self.base, "TORCH_INDEX": self.torch_index}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class BuiltImage:
    """An image that was built."""

    role: str
    name: str
    mib: float
    """Of all its layers, in 2**20 bytes."""
    added_mib: float
    """Without those that it shares with the server's."""
    weights_mib: float
    """Of the weights that it adds."""


def find_dockerfiles(folder: str | None = None) -> Path:
    """Return the folder with the Dockerfiles: that of the repository, unless one is given.

    Raises ConfigError if it has none.
    """
    path = Path(__file__).resolve().parents[2] / "docker" if folder is None else Path(folder)
    if not (path / "server.Dockerfile").is_file():
        raise ConfigError(
            f"'{path}' has no server.Dockerfile; name the folder docker/ of raysplit's repository by --dockerfiles"
        )
    return path


def build_images(
    location: str,
    prefix: str,
    engine: Engine,
    source: ImageSource | None = None,
    dockerfiles: str | None = None,
    per: Per = "submodel",
) -> list[BuiltImage]:
    """Build the images of an ensemble's or a family's bundle, or of a run with one, and return them, the server first.

    The server's image has the ensemble's fusion, or the whole family; that of a sub-model adds its weights alone, and
    `per` device those of all sub-models on one device.
    Raises BundleError for what is no bundle, ConfigError if a build fails.
    """
    files = find_dockerfiles(dockerfiles)
    with TemporaryDirectory(prefix="raysplit-image-") as work:
        builder = _Builder(engine, files, Path(work), source or ImageSource())
        if read_kind(location) == KIND:
            return builder.build_ensemble(location, prefix, per)
        return builder.build_family(location, prefix)


class _Builder:
    def __init__(self, engine: Engine, dockerfiles: Path, work: Path, source: ImageSource):
        self._engine, self._dockerfiles, self._work, self._source = engine, dockerfiles, work, source

    def build_ensemble(self, location: str, prefix: str, per: Per) -> list[BuiltImage]:
        ensemble = load_ensemble(location)
        app, folder = plan_application(ensemble, prefix, per=per), Folder.at(location)
        names = app.names
        server = self._context("server", {f"bundle/{name}": _read(folder, name) for name in (MANIFEST, FUSION)})
        server_bytes = self._build("server", names.server, server, ensemble.id, {})
        mib = server_bytes / 2**20
        built = [BuiltImage("server", names.server, mib, mib, ensemble.files[FUSION].bytes / 2**20)]
        for part in app.submodels:
            own = [ensemble.manifest.submodels[index].file for index in part.submodels]
            context = self._write(part.group, {file: _read(folder, file) for file in own})
            extra = {f"{_LABELS}.submodels": ",".join(map(str, part.submodels))}
            size = self._build("submodel", part.image, context, ensemble.id, extra, SERVER=names.server)
            built.append(
                BuiltImage(part.group, part.image, size / 2**20, (size - server_bytes) / 2**20, part.weights_mib)
            )
        return built

    def build_family(self, location: str, prefix: str) -> list[BuiltImage]:
        family, folder = load_family(location), Folder.at(find_family(location))
        names = ImageNames.of(prefix, family.id)
        data = {name: _read(folder, name) for name in (MANIFEST, *family.files)}
        weights_mib = sum(map(len, data.values())) / 2**20
        built = []
        for role, name, place in (("server", names.server, "bundle"), ("device", names.device, "family")):
            context = self._context(role, {f"{place}/{file}": content for file, content in data.items()})
            mib = self._build(role, name, context, family.id, {}) / 2**20
            built.append(BuiltImage(role, name, mib, mib, weights_mib))
        return built

    def _context(self, role: str, files: Mapping[str, bytes]) -> Path:
        """Return a folder with what the Dockerfile of a role copies."""
        context = self._write(role, files)
        shutil.copy(self._dockerfiles / f"{role}.lock", context)
        shutil.copy(self._wheel(), context)
        return context

    def _write(self, name: str, files: Mapping[str, bytes]) -> Path:
        context = self._work / name
        for file, data in files.items():
            (context / file).parent.mkdir(parents=True, exist_ok=True)
            (context / file).write_bytes(data)
        return context

    def _wheel(self) -> Path:
        """Return this version of raysplit as a wheel, built once."""
        folder = self._work / "wheel"
        if not folder.exists():
            root, sources = self._dockerfiles.parent, self._work / "sources"
            shutil.copytree(root / "raysplit", sources / "raysplit", ignore=shutil.ignore_patterns("__pycache__"))
            for name in ("pyproject.toml", "README.md", "LICENSE"):
                shutil.copy(root / name, sources)
            command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
            environment = {**os.environ, "SOURCE_DATE_EPOCH": _WHEEL_DATE}
            done = subprocess.run([*command, str(sources)], capture_output=True, text=True, env=environment)
            if done.returncode:
                raise ConfigError(f"no wheel can be built of '{root}': {' '.join(done.stderr.split())}")
        return next(folder.glob("*.whl"))

    def _build(
        self, role: str, name: str, context: Path, bundle_id: str, extra: Mapping[str, str], **arguments: str
    ) -> int:
        """Build an image and return its size in bytes."""
        labels = {
            "org.opencontainers.image.title": f"raysplit {role}",
            "org.opencontainers.image.version": find_version(),
            "org.opencontainers.image.licenses": "Apache-2.0",
            f"{_LABELS}.bundle": bundle_id,
            f"{_LABELS}.role": role,
            **extra,
        }
        if role != "device":
            labels[f"{_LABELS}.ray"] = RAY_VERSION
        given = arguments or self._source.arguments()
        self._engine.build(self._dockerfiles / f"{role}.Dockerfile", context, name, given, labels)
        return self._engine.layer_bytes(name)


def _read(folder: Folder, name: str) -> bytes:
    data = folder.find(name)
    if data is None:
        raise ConfigError(f"'{folder.location}' has no {name} any more; build the bundle again")
    return data
