"""A thin link on one machine: two network namespaces, a rate-limited pair of interfaces, a Ray node in each."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_BURST = 16_000
"""Bytes that may pass at once: ten packets; more than a tick of a 250 Hz kernel brings, up to 30 Mbit/s."""
_QUEUE_S = 0.1
"""Seconds of data that wait for the link before packets are dropped."""
PACKET, PAYLOAD = 1514, 1448
"""Bytes of a full packet as the rate limit and the counters see it, and of TCP's payload in it (with timestamps)."""
_PORT = 6379


def parse_rate(text: str) -> float:
    """Return bits per second from tc's notation: `20mbit`, `500kbit`, `1.5gbit`. ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)bit", text)
    if not found or not float(found[1]):
        raise ValueError(f"'{text}' is not a rate; write it like 20mbit or 500kbit")
    return float(found[1]) * _UNITS[found[2]]


def missing() -> str | None:
    """Return why this machine cannot have such a link, or None where it can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "it makes network namespaces, which needs root"
    gone = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if gone:
        return f"{' and '.join(gone)} not found; install the package iproute2"
    name = f"probe{os.getpid()}"
    try:
        _sh(f"ip netns add {name}")
        _sh(f"ip -n {name} link add name a type veth peer name b")
        _sh(f"tc -n {name} qdisc add dev a root tbf rate 1mbit burst {_BURST} latency 100ms")
    except RuntimeError as err:
        return str(err)
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return None


@dataclass(frozen=True)
class Side:
    """One namespace."""

    space: str
    address: str
    interface: str

    def command(self, *words: str) -> list[str]:
        """Return a command line that runs in this namespace."""
        return ["ip", "netns", "exec", self.space, *words]


@contextmanager
def thin_link(rate: float) -> Iterator[tuple[Side, Side]]:
    """Make the head's and the device's side, with `rate` bit/s in each direction; take both away at the end.

    All processes in the two namespaces are ended: none but ours can be there, for the names are new.
    """
    stem = f"thin{os.getpid()}"
    head, device = Side(f"{stem}h", "10.231.0.1", f"{stem}h"), Side(f"{stem}d", "10.231.0.2", f"{stem}d")
    try:
        for side in (head, device):
            _sh(f"ip netns add {side.space}")
        _sh(
            f"ip link add name {head.interface} netns {head.space} type veth "
            f"peer name {device.interface} netns {device.space}"
        )
        for side in (head, device):
            _sh(f"ip -n {side.space} addr add {side.address}/24 dev {side.interface}")
            # One packet per buffer: a bundle of packets is counted with the headers of one.
            _sh(f"ip -n {side.space} link set {side.interface} gso_max_segs 1")
            _sh(f"ip -n {side.space} link set {side.interface} up")
            _sh(f"ip -n {side.space} link set lo up")
            _sh(
                f"tc -n {side.space} qdisc add dev {side.interface} root tbf "
                f"rate {rate:.0f}bit burst {_BURST} latency {_QUEUE_S * 1e3:.0f}ms"
            )
        yield head, device
    finally:
        for side in (head, device):
            _end(side.space)
            # The pair goes with the first of its ends.
            subprocess.run(["ip", "netns", "del", side.space], capture_output=True, check=False)


@contextmanager
def ray_nodes(head: Side, device: Side, cores: int) -> Iterator[dict[str, str]]:
    """Start a Ray head node and a node with the resource `device`; yield the environment for a driver on the head."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="thin", dir="/tmp"))
        environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ADDRESS": f"{head.address}:{_PORT}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        common = ["--block", "--object-store-memory=300000000", "--disable-usage-stats"]
        words = [f"--node-ip-address={head.address}", "--head", f"--port={_PORT}", f"--num-cpus={cores}"]
        words += ["--include-dashboard=false", f"--temp-dir={folder}"]
        stack.enter_context(_node(head, [*words, *common], environment, folder))
        words = [f"--node-ip-address={device.address}", f"--address={head.address}:{_PORT}", "--num-cpus=0"]
        stack.enter_context(_node(device, [*words, '--resources={"device": 1}', *common], environment, folder))
        yield environment


@contextmanager
def _node(side: Side, words: list[str], environment: dict[str, str], folder: str) -> Iterator[None]:
    """Run `ray start` in a namespace until the end; its output is shown if it does not come up."""
    log = Path(folder, f"{side.space}.out")
    with log.open("w") as out:
        ray = str(Path(sys.executable).parent / "ray")
        start = side.command(ray, "start", *words)
        process = subprocess.Popen(start, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        end = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"ray start on {side.space} failed:\n{log.read_text()}")
            time.sleep(0.2)
        yield
    finally:
        _end(side.space)
        process.wait()


def _end(space: str) -> None:
    """End all processes in a namespace of ours: asked first, then made to."""
    for sign, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        end = time.monotonic() + patience
        while (running := _processes(space)) and time.monotonic() < end:
            for process in running:
                try:
                    os.kill(process, sign)
                except ProcessLookupError:
                    continue
            time.sleep(0.5)


def _processes(space: str) -> list[int]:
    found = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def _sh(line: str) -> None:
    done = subprocess.run(line.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"'{line}' failed: {done.stderr.strip() or done.returncode}")
