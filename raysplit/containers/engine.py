"""Podman, Docker or Buildah: what builds images on this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raysplit.errors import ConfigError

EngineName = Literal["podman", "docker", "buildah"]
_LAST_LINES = 8
"""Of a build that failed, in the error."""


@dataclass(frozen=True)
class Engine:
    """A program that builds images; its own settings are those of its configuration files and environment."""

    name: EngineName

    @classmethod
    def find(cls, name: EngineName) -> Engine:
        """Return an engine of this machine; ConfigError if it is not installed."""
        if shutil.which(name) is None:
            raise ConfigError(f"{name} is not installed; install it, or choose another --engine")
        return cls(name)

    def build(
        self, dockerfile: Path, context: Path, tag: str, arguments: Mapping[str, str], labels: Mapping[str, str]
    ) -> None:
        """Build an image; what the build prints goes to this process's stderr. Raises ConfigError if it fails."""
        command = [self.name, "build", "--file", str(dockerfile), "--tag", tag]
        if self.name != "docker":
            command += ["--format", "docker"]  # OCI's own has no health check
        for name, value in arguments.items():
            command += ["--build-arg", f"{name}={value}"]
        for name, value in labels.items():
            command += ["--label", f"{name}={value}"]
        done = subprocess.run([*command, str(context)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            last = " | ".join(line.strip() for line in done.stdout.splitlines()[-_LAST_LINES:] if line.strip())
            raise ConfigError(f"{self.name} could not build {tag} by {dockerfile}: {last}")

    def layer_bytes(self, tag: str) -> int:
        """Return the size of an image with all its layers, in bytes."""
        if self.name == "buildah":
            [image] = json.loads(self._run("images", "--json", tag))
            return _parse_size(image["size"])
        [image] = json.loads(self._run("image", "inspect", tag))
        return int(image["Size"])

    def _run(self, *words: str) -> str:
        done = subprocess.run([self.name, *words], capture_output=True, text=True)
        if done.returncode:
            raise ConfigError(f"{self.name} {' '.join(words)} failed: {' '.join(done.stderr.split())}")
        return done.stdout


def _parse_size(text: str) -> int:
    """Return bytes from a size as Buildah prints it, rounded to three digits.

    >>> _parse_size("1.25 GB"), _parse_size("225 MB")
    (1250000000, 225000000)
    """
    number, unit = text.split()
    return round(float(number) * {"B": 1, "KB": 10**3, "kB": 10**3, "MB": 10**6, "GB": 10**9}[unit])


def find_command(engines: Sequence[EngineName] = ("podman", "docker", "buildah")) -> EngineName | None:
    """Return the first of some engines that is installed; None if none is."""
    return next((name for name in engines if shutil.which(name)), None)
