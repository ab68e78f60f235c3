"""The parts of an ensemble that run in pods of their own, and what each of them takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from raysplit.containers.image_names import ImageNames
from raysplit.ensemble.bundle import FUSION, Ensemble
from raysplit.errors import ConfigError
from raysplit.serving.args import INGRESS, SUBMODEL_PREFIX

Per = Literal["submodel", "device"]
NODE_MIB = 768
"""Of a Ray node's own processes and Serve's proxy, in 2**20 bytes."""
REPLICA_MIB = 512
"""Of a replica that has imported torch, without weights."""
_WEIGHTS = 4
"""Times its weights: as they are stored, as they compute, and what it computes on the way."""
_STEP_MIB = 256
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?")


@dataclass(frozen=True)
class Part:
    """A deployment of Serve with a group of pods of its own, which are named alike."""

    deployment: str
    """Its name in Serve."""
    group: str
    """The name of its group of pods and of the custom resource that pins it to them."""
    image: str
    submodels: tuple[int, ...]
    """The sub-models that it holds; empty for the ingress."""
    weights_mib: float
    device: str | None = None
    """The device of devices.yaml that it runs on."""

    @property
    def memory_mib(self) -> int:
        """What a pod with one replica takes, in 2**20 bytes."""
        needed = NODE_MIB + REPLICA_MIB + _WEIGHTS * self.weights_mib
        return -int(-needed // _STEP_MIB) * _STEP_MIB


@dataclass(frozen=True)
class Application:
    """An ensemble as containers run it."""

    name: str
    bundle_id: str
    names: ImageNames
    ingress: Part
    submodels: tuple[Part, ...]
    groups: Mapping[str, tuple[int, ...]]
    """`groups` of `EnsembleArgs`: sub-models that share a deployment."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, the ingress first."""
        return (self.ingress, *self.submodels)


def check_name(name: str) -> None:
    """Raise ConfigError for a name that Kubernetes does not take.

    >>> check_name("ensemble-2")
    """
    if not _DNS_LABEL.fullmatch(name):
        raise ConfigError(f"'{name}' is no name for Kubernetes; use lower-case letters, digits and hyphens")


def plan_application(ensemble: Ensemble, prefix: str, name: str = "ensemble", per: Per = "submodel") -> Application:
    """Return the parts of an ensemble: one for each sub-model, or one for each device that the build placed them on.

    `prefix` is what the images' names begin with. Raises ConfigError for an ensemble without devices, and for a name
    that Kubernetes does not take.
    """
    check_name(name)
    names = ImageNames.of(prefix, ensemble.id)
    mib = {file: entry.bytes / 2**20 for file, entry in ensemble.files.items()}
    entries = ensemble.manifest.submodels
    ingress = Part(INGRESS, "ingress", names.server, (), mib[FUSION])
    if per == "submodel":
        parts = tuple(
            Part(group, group, names.submodel(index), (index,), mib[entry.file], entry.device)
            for index, entry in enumerate(entries)
            for group in (f"{SUBMODEL_PREFIX}{index}",)
        )
        return Application(name, ensemble.id, names, ingress, parts, {})
    by_device: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        if entry.device is None:
            raise ConfigError(
                f"sub-model {index} of '{ensemble.location}' is on no device; build it with `devices`, or use "
                "--per submodel"
            )
        if not _DNS_LABEL.fullmatch(entry.device) or entry.device == "ingress":
            raise ConfigError(
                f"device '{entry.device}' is no name for a group of pods; use lower-case letters, digits and hyphens"
            )
        by_device.setdefault(entry.device, []).append(index)
    parts = tuple(
        Part(device, device, names.part(device), tuple(held), sum(mib[entries[index].file] for index in held), device)
        for device, held in by_device.items()
    )
    return Application(name, ensemble.id, names, ingress, parts, {part.group: part.submodels for part in parts})
