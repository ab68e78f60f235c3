"""Containers by Podman, with the names and limits of pods, on a network of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from raysplit.containers.compose import container_options
from raysplit.containers.pods import PodContainer, SecretValue


def podman(*words: str, check: bool = True) -> str:
    """Run Podman and return what it prints; with `check`, raise for a failure, with its errors."""
    done = subprocess.run(["podman", *words], capture_output=True, text=True)
    if check and done.returncode:
        raise SystemExit(f"podman {' '.join(words[:4])} failed: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Network:
    """A bridge with fixed addresses, so that no name server is needed."""

    name: str
    subnet: IPv4Network

    def create(self) -> None:
        """Make the network, anew if there is one."""
        self.remove()
        podman("network", "create", "--disable-dns", "--subnet", str(self.subnet), self.name)

    def remove(self) -> None:
        """Delete it, with its containers."""
        podman("network", "rm", "--force", self.name, check=False)

    def address(self, number: int) -> str:
        """Return the address of a container."""
        return str(self.subnet[number])


@dataclass(frozen=True)
class Container:
    """One pod's container."""

    name: str
    address: str

    def start(self, pod: PodContainer, network: Network, keys: Mapping[SecretValue, str], extra: Sequence[str]) -> None:
        """Create and start it."""
        options = _without(container_options(pod, network.name), "--network-alias")
        words = ["run", "--detach", "--name", self.name, "--ip", self.address, "--no-healthcheck", *extra]
        words += [_fill(word, pod, keys) for word in options]
        podman(*words, pod.image, "/bin/bash", "-c", pod.command)

    def kill(self) -> None:
        """Kill all of its processes at once."""
        podman("kill", "--signal", "KILL", self.name)

    def stop(self, command: str) -> None:
        """Run a command in it and delete it, as a pod is stopped."""
        podman("exec", self.name, "/bin/sh", "-c", command, check=False)
        self.remove()

    def remove(self) -> None:
        """Delete it."""
        podman("rm", "--force", "--time", "0", self.name, check=False)

    def restart(self) -> None:
        """Start it again, with an empty /tmp, as kubelet does."""
        podman("start", self.name, check=False)

    def is_running(self) -> bool:
        """Return whether its first process lives."""
        return podman("inspect", "--format", "{{.State.Running}}", self.name, check=False).strip() == "true"

    def set_link(self, up: bool) -> None:
        """Join it to the network, or take it off without telling anyone."""
        pid = podman("inspect", "--format", "{{.State.Pid}}", self.name).strip()
        state = "up" if up else "down"
        subprocess.run(["nsenter", "-t", pid, "-n", "ip", "link", "set", "eth0", state], check=True)

    def memory_mib(self) -> float:
        """Return the memory of all its processes, shared pages divided among those that share them, in 2**20 bytes."""
        total = 0
        for pid in podman("top", self.name, "hpid").split()[1:]:
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue  # it has ended
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total / 1024


def build_revision(image: str, name: str) -> None:
    """Build an image with one more label than another."""
    words = ["podman", "build", "--quiet", "--tag", name, "--label", "io.github.raysplit.revision=1", "-"]
    done = subprocess.run(words, input=f"FROM {image}\n", capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"podman could not build {name}: {done.stderr.strip()}")


def image_mib(image: str) -> float:
    """Return the size of an image with all its layers, in 2**20 bytes."""
    size: int = json.loads(podman("image", "inspect", image))[0]["Size"]
    return size / 2**20


def find_obstacle() -> str | None:
    """Return why containers cannot be run here; None if they can."""
    if os.geteuid():
        return "not root"
    try:
        subprocess.run(["podman", "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "Podman is not installed"
    return None


def _without(options: Sequence[str], name: str) -> list[str]:
    """Return options without one and its value."""
    at = options.index(name)
    return [*options[:at], *options[at + 2 :]]


def _fill(word: str, pod: PodContainer, keys: Mapping[SecretValue, str]) -> str:
    """Return an option with the value of a Secret in place of its variable."""
    name, _, value = word.partition("=")
    secret = pod.environment.get(name)
    return f"{name}={keys[secret]}" if isinstance(secret, SecretValue) and value.startswith("$") else word
