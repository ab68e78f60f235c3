"""Bundles: folders of files that belong together, with a manifest that records the hash of each file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from raysplit.errors import BundleError
from raysplit.utils.frozen import Record, describe
from raysplit.utils.storage import Folder

FORMAT = 1
MANIFEST = "manifest.json"
_CHUNK = 1 << 20


class FileEntry(Record):
    """What a manifest records about one file."""

    sha256: str
    """In hex."""
    bytes: int
    """Its size."""


@dataclass(frozen=True)
class Bundle:
    """An open bundle; the hashes of the files that it was opened for have been checked."""

    location: str
    id: str
    """sha256 of the canonical manifest, in hex: two bundles with the same id hold the same files."""
    about: dict[str, Any]
    """What the writer recorded about the files; the keys depend on the kind of bundle."""
    files: Mapping[str, FileEntry]
    """What the manifest records about each file, by name."""
    _root: Path
    _copy: TemporaryDirectory[str] | None
    """Holds the files of a bundle from another file system while it is in use."""
    _checked: frozenset[str]
    """The files that it was opened for."""

    def path(self, name: str) -> Path:
        """Return a file's path on this machine.

        Raises BundleError for a file that the manifest does not list, or that the bundle was not opened for.
        """
        if name not in self.files:
            raise BundleError(f"bundle '{self.location}' has no {name}: its {MANIFEST} does not list it")
        if name not in self._checked:
            raise BundleError(f"bundle '{self.location}' was opened without {name}; open it with this file")
        return self._root / name


def write_bundle(location: str, kind: str, about: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """Write a bundle to a path or URI and return its location; an existing bundle there is replaced.

    `about` is plain data for the manifest; `files` maps names, which may contain folders, to contents. The manifest is
    written last, so that an incomplete write does not leave a bundle. Raises ConfigError if the location cannot be
    written to.

    >>> with TemporaryDirectory() as folder:
    ...     location = write_bundle(folder, "greeting", {"language": "en"}, {"texts/hello.txt": b"hello"})
    ...     bundle = open_bundle(location, "greeting")
    ...     bundle.about, bundle.path("texts/hello.txt").read_bytes()
    ({'language': 'en'}, b'hello')
    """
    folder = Folder.at(location)
    if folder.has(MANIFEST):
        folder.delete(MANIFEST)
    for name, data in files.items():
        folder.write(name, data)
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "about": dict(about),
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()
        },
    }
    folder.write(MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False).encode())
    return folder.location


def open_bundle(
    location: str,
    kind: str,
    earlier: str | None = None,
    select: Callable[[dict[str, Any]], Collection[str]] | None = None,
) -> Bundle:
    """Open a bundle by path or URI and check the hash of every file.

    `earlier` is a name that the kind had in bundles of earlier versions. `select` returns the names of the files that
    are needed, from what the writer recorded about them: others may be missing, as in the image of one sub-model; None:
    all are needed.

    A bundle on another file system is first copied to a temporary local folder. Raises BundleError for a folder without
    a manifest, a bundle of another kind or format, and a missing or damaged file; ConfigError for a URI that pyarrow
    cannot open.
    """
    folder = Folder.at(location)
    data = folder.find(MANIFEST)
    if data is None:
        raise BundleError(f"'{location}' is not a bundle: it has no {MANIFEST}. Name the folder that holds one")
    tree, manifest = _parse(data, location)
    if manifest.format != FORMAT:
        raise BundleError(
            f"{MANIFEST} of bundle '{location}' is of format {manifest.format}, but this version of raysplit reads "
            f"format {FORMAT}; use the version that wrote the bundle, or write it again"
        )
    if manifest.kind not in (kind, earlier):
        raise BundleError(
            f"bundle '{location}' is of kind '{manifest.kind}', not '{kind}'; name a bundle of kind '{kind}'"
        )
    needed = manifest.files.keys() if select is None else manifest.files.keys() & set(select(manifest.about))
    copy = None
    if folder.local is None:
        copy = TemporaryDirectory(prefix="raysplit-bundle-")
        _fetch(folder, needed, Path(copy.name))
    root = folder.local if copy is None else Path(copy.name)
    assert root is not None
    for name in sorted(needed):
        _check_file(root / name, manifest.files[name], name, location)
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    bundle_id = hashlib.sha256(canonical).hexdigest()
    return Bundle(folder.location, bundle_id, manifest.about, manifest.files, root, copy, frozenset(needed))


def copy_bundle(location: str, kind: str, to: str) -> str:
    """Write a bundle again elsewhere and return where; raises what `open_bundle` and `write_bundle` raise."""
    bundle = open_bundle(location, kind)
    return write_bundle(to, kind, bundle.about, {name: bundle.path(name).read_bytes() for name in bundle.files})


def read_kind(location: str) -> str | None:
    """Return the kind of a bundle; None where no manifest can be read, for which `open_bundle` has the error.

    >>> read_kind("family"), read_kind("run")
    ('prune_family', None)
    """
    data = Folder.at(location).find(MANIFEST)
    try:
        return None if data is None else _parse(data, location)[1].kind
    except BundleError:
        return None


class _Manifest(Record):
    format: int
    kind: str
    about: dict[str, Any]
    files: dict[str, FileEntry]


def _parse(data: bytes, location: str) -> tuple[Any, _Manifest]:
    """Return a manifest as JSON data, and its fields."""
    try:
        tree = json.loads(data)
        return tree, _Manifest.model_validate(tree)
    except ValueError as err:
        reason = describe(err) if isinstance(err, ValidationError) else f"{type(err).__name__}: {err}"
        raise BundleError(
            f"{MANIFEST} in bundle '{location}' cannot be read ({reason}); copy or write the bundle again"
        ) from None


def _fetch(folder: Folder, names: Collection[str], to: Path) -> None:
    """Copy files from another file system; those that it does not have are found missing later."""
    for name in names:
        if (data := folder.find(name)) is not None:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (to / name).write_bytes(data)


def _check_file(path: Path, expected: FileEntry, name: str, location: str) -> None:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError:
        raise BundleError(f"{name} of bundle '{location}' is missing; copy or write the bundle again") from None
    if digest.hexdigest() != expected.sha256:
        raise BundleError(
            f"{name} of bundle '{location}' is damaged: its {size:,} bytes do not match the sha256 of the {MANIFEST}, "
            f"which lists {expected.bytes:,} bytes; copy or write the bundle again"
        )
