"""Where the parts of a checkpoint are kept (docs/devices.md)."""

from __future__ import annotations

from typing import Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from raysplit.utils.frozen import Frozen, Name


class CheckpointConfig(Frozen):
    """Where what a device has trained is kept, from which a run goes on.

    >>> CheckpointConfig(device="local", folder="/var/lib/raysplit").device
    'local'
    """

    device: Literal["server", "local"] = "server"
    """`server`: in the run's checkpoints, for which it crosses the link. `local`: on the device's own disk; the
    checkpoint has an id and a sha256 of it."""
    folder: Name | None = None
    """With `local`: the folder for it, on each device; every device of every run has one of its own below it."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {key: value for key, value in write(self).items() if value != type(self).model_fields[key].default}

    @model_validator(mode="after")
    def _parts_fit(self) -> CheckpointConfig:
        if (self.device == "local") != (self.folder is not None):
            lacks = "checkpoint.device=local needs a folder on the device's disk; set checkpoint.folder"
            raise ValueError(lacks if self.folder is None else "checkpoint.folder is read with checkpoint.device=local")
        if self.folder is not None and not self.folder.startswith(("/", "~")):
            raise ValueError(
                f"checkpoint.folder '{self.folder}' is not an absolute path, and the device may run anywhere; begin it "
                "with / or ~"
            )
        return self
