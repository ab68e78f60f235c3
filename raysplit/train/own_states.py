"""The states of a device that stay on its own disk; what leaves it says which one is meant."""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from pydantic import Field, ValidationError

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError
from raysplit.utils.frozen import Frozen
from raysplit.utils.storage import Folder

RECEIPT = "device.json"
"""The file of a run's folder that says where the device half is, in place of the weights."""


_KEPT = 4
"""States that stay on a device: of the last two checkpoints, and as many in between; more for rounds trained again."""


class StateReference(Frozen):
    """Which state of a device is meant, and where it was written.

    >>> reference = StateReference(device=2, id="00002-5f0c1ad8b92e", sha256=64 * "c", node="pi", path="/var/c.pt")
    >>> StateReference.parse(reference.pack()) == reference
    True
    """

    device: int
    id: Annotated[str, Field(pattern=r"^\d{5}-[0-9a-f]{12}$")]
    """Of the device in its run: the name of its folder."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    node: str
    """The host on which it was written."""
    path: str

    def pack(self) -> bytes:
        """Return the reference as bytes."""
        return self.model_dump_json(indent=2).encode()

    @classmethod
    def parse(cls, data: bytes) -> StateReference:
        """Read what `pack` returned; ConfigError for anything else."""
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            raise ConfigError(
                "the checkpoint has a device's state where checkpoint.device=local expects an id and a hash; go on "
                "with the config that the run began with"
            ) from None

    def check(self, data: bytes, where: str) -> bytes:
        """Return the content of a file; ConfigError unless it is the state that is meant."""
        if (found := hashlib.sha256(data).hexdigest()) != self.sha256:
            raise ConfigError(
                f"'{where}' is another state of device {self.device}: its sha256 is {found[:12]}, the checkpoint has "
                f"{self.sha256[:12]}; put the file back"
            )
        return data


class OwnStates:
    """Keeps a device's newest states in a folder below `folder`.

    Args:
        device: its number in the run.
        keep: how many states are kept. A run goes on from one of its last two checkpoints.
    """

    def __init__(self, folder: str, device: int, keep: int):
        self._root, self._device, self._keep = Path(folder).expanduser(), device, keep
        self._id = f"{device:05d}-{uuid4().hex[:12]}"

    def save(self, state: bytes) -> bytes:
        """Write a state, delete those that are no longer needed, and return the packed reference."""
        folder, digest = self._root / self._id, hashlib.sha256(state).hexdigest()
        files = sorted(folder.glob("*.pt"))
        number = int(files[-1].name.partition("-")[0]) + 1 if files else 0
        path = folder / f"{number:08d}-{digest}.pt"
        Folder.at(str(folder)).write(path.name, state)
        for old in files[: max(0, len(files) - self._keep + 1)]:
            with suppress(OSError):
                os.remove(old)
        return StateReference(
            device=self._device, id=self._id, sha256=digest, node=platform.node(), path=str(path.resolve())
        ).pack()

    def load(self, packed: bytes) -> bytes:
        """Return the state that is meant, and keep the next ones beside it.

        Raises ConfigError, which names the device, where it is not there or another one.
        """
        reference = StateReference.parse(packed)
        folder = self._root / reference.id
        files = sorted(folder.glob("*.pt"))
        path = next((file for file in files if file.stem.endswith(reference.sha256)), None)
        if path is None:
            others = [file.stem.partition("-")[2][:12] for file in files]
            there = f"only {', '.join(others)}" if others else "nothing of the run"
            raise ConfigError(
                f"device {reference.device} on {platform.node()} lacks its state {reference.sha256[:12]} of this "
                f"checkpoint, written on {reference.node}: '{folder}' has {there}; bring the file back, or start the "
                "device where it is"
            )
        self._id = reference.id
        return reference.check(Folder.at(str(folder)).find(path.name) or b"", str(path))


def keep_own_states(config: SplitConfig, device: int) -> OwnStates | None:
    """Return where a device of a run keeps its states; None where they cross the link to the run's checkpoints."""
    folder = config.checkpoint.folder
    return None if folder is None else OwnStates(folder, device, _KEPT + config.ray.max_failures)


def describe_missing_half(run: str, reference: StateReference) -> str:
    """Return what it takes to make the family of a run of which the device half has stayed on its device."""
    return (
        f"the device half of run '{run}' has stayed on device {reference.device} ({reference.node}), in "
        f"{reference.path}: raysplit.write_family('{run}', '{run}/family', device='{Path(reference.path).name}') makes "
        "the family, to export or serve, once that file is here"
    )
