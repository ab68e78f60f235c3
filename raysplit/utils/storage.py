"""Folders on any file system that pyarrow can open, by path or URI."""

from __future__ import annotations

import datetime
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs
from typing_extensions import Self

from raysplit.errors import ConfigError


def locate(location: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a local path or a URI, and the path on it; ConfigError for an invalid one."""
    try:
        location.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"the path {location!a} is not UTF-8; rename it") from None
    if "://" not in location:
        return fs.LocalFileSystem(), str(Path(location).expanduser().resolve())
    try:
        filesystem, path = fs.FileSystem.from_uri(location)
    except (pa.ArrowException, OSError) as err:
        raise ConfigError(f"'{location}' is not a path or URI that pyarrow can open: {err}") from None
    return filesystem, path


def dated(name: str) -> str:
    """Return a folder name that ends in the current time and sorts by it: `name_2026-01-31_12-00-00.000000`."""
    return f"{name.replace('/', '_')}_{datetime.datetime.now():%Y-%m-%d_%H-%M-%S.%f}"


def write_file(location: str, data: bytes) -> None:
    """Write one file atomically, by path or URI; ConfigError if the location cannot be written to."""
    folder, _, name = location.rpartition("/")
    Folder.at(folder or ("/" if location.startswith("/") else ".")).write(name, data)


class Folder:
    """A folder, which need not exist yet. Files in it are written atomically.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as path:
    ...     folder = Folder.at(path)
    ...     folder.write("plots/time.txt", b"42")
    ...     folder.names(), folder.find("plots/time.txt"), folder.find("nothing")
    (['plots'], b'42', None)
    """

    remedy = "choose another location"
    """The end of an error's text if nothing can be written."""

    def __init__(self, filesystem: fs.FileSystem, path: str, location: str):
        self._fs, self.path, self.location = filesystem, path, location

    @classmethod
    def at(cls, location: str) -> Self:
        """Return the folder at a path or URI; ConfigError for a URI that pyarrow cannot open."""
        filesystem, path = locate(location)
        return cls(filesystem, path, location.rstrip("/") if "://" in location else path)

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically; ConfigError if the folder cannot be written to, or is full."""
        self.write_all({name: data})

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Write files, by their names: all of them, or none where the folder cannot be written to, or is full.

        Raises ConfigError for such a folder.
        """
        targets: dict[str, str] = {}
        name = ""
        try:
            try:
                for name, data in files.items():
                    target = posixpath.join(self.path, name)
                    part = f"{target}.{uuid4().hex}.part"  # two writers must not share a part file
                    targets[part] = target
                    self._fs.create_dir(posixpath.dirname(target), recursive=True)
                    with self._fs.open_output_stream(part) as out:
                        out.write(data)
                for part, target in targets.items():
                    self._fs.move(part, target)
            except BaseException:
                for part in targets:
                    with suppress(OSError):
                        self._fs.delete_file(part)
                raise
        except OSError as err:
            raise ConfigError(f"cannot write {name} to '{self.location}': {err}; {self.remedy}") from None

    def find(self, name: str) -> bytes | None:
        """Return a file's content, or None if it does not exist; ConfigError if it cannot be read."""
        with self._reading(name):
            try:
                with self._fs.open_input_file(posixpath.join(self.path, name)) as file:
                    return bytes(file.read())
            except (FileNotFoundError, NotADirectoryError):
                return None

    def has(self, name: str) -> bool:
        """Return whether the folder has a file or folder of this name; ConfigError if that cannot be told."""
        with self._reading(name):
            return self._fs.get_file_info(posixpath.join(self.path, name)).type is not fs.FileType.NotFound

    def names(self) -> list[str]:
        """Return the sorted names of the files and folders in it; an empty list if the folder does not exist.

        Raises ConfigError for a file, and for a folder that cannot be read.
        """
        with self._reading("."):
            infos = self._fs.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
            return sorted(info.base_name for info in infos)

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with everything in it."""
        target = posixpath.join(self.path, name)
        is_folder = self._fs.get_file_info(target).type is fs.FileType.Directory
        (self._fs.delete_dir if is_folder else self._fs.delete_file)(target)

    def size(self, name: str) -> int:
        """Return the bytes of all files in a folder of this name; 0 where there is none."""
        below = fs.FileSelector(posixpath.join(self.path, name), allow_not_found=True, recursive=True)
        return sum(info.size or 0 for info in self._fs.get_file_info(below))

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            place = self.location if name == "." else f"{self.location}/{name}"
            raise ConfigError(f"'{place}' cannot be read: {err}; check the path and its permissions") from None

    @property
    def local(self) -> Path | None:
        """The folder's path if it is on the local file system, else None."""
        return Path(self.path) if isinstance(self._fs, fs.LocalFileSystem) else None
