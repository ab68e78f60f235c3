"""The Open Inference Protocol v2: what a server and its model tell their clients."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

from raysplit.errors import RequestError
from raysplit.utils.frozen import Frozen

HEADER_LENGTH = "Inference-Header-Content-Length"
"""HTTP header of requests and responses with the number of bytes of JSON before binary tensors."""
IMAGES, FILES = "images", "files"
"""Inputs: UINT8 (B, C, H, W), and BYTES (B, 1) or (B,), image or audio files, which are base64 in JSON."""
PROBABILITIES, LABELS = "probabilities", "labels"
"""Outputs: FP32 (B, classes), and BYTES (B,), the name of the most likely class."""
DATATYPES = {IMAGES: "UINT8", FILES: "BYTES", PROBABILITIES: "FP32", LABELS: "BYTES"}


class TensorMetadata(Frozen):
    """Name, datatype and shape of an input or output; -1 in a shape stands for any extent."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, str] | None = None
    """What else a client must know to send it."""


class ModelMetadata(Frozen):
    """Response to `GET /v2/models/NAME`. A request to infer has one of the inputs."""

    name: str
    versions: tuple[str, ...]
    platform: str = "raysplit"
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class ServerMetadata(Frozen):
    """Response to `GET /v2`."""

    name: str
    version: str
    extensions: tuple[str, ...]


class ServerLive(Frozen):
    """Response to `GET /v2/health/live`."""

    live: bool


class ServerReady(Frozen):
    """Response to `GET /v2/health/ready`."""

    ready: bool


class ModelReady(Frozen):
    """Response to `GET /v2/models/NAME/ready`."""

    name: str
    ready: bool


@dataclass(frozen=True)
class ModelVersion:
    """Name and version of the model that an application serves."""

    name: str
    version: str

    def check(self, name: str, version: str | None = None) -> None:
        """Raise RequestError, 404, if a URL names another model or version."""
        if name != self.name:
            raise RequestError(f"unknown model {name[:80]!r}; this server has '{self.name}'", 404)
        if version not in (None, self.version):
            raise RequestError(f"unknown version {version[:80]!r} of '{name}'; this server has '{self.version}'", 404)


@dataclass(frozen=True)
class ServedModel(ModelVersion):
    """An ensemble as its clients see it.

    >>> model = ServedModel("digits", "0123456789ab", ("zero", "one"), (1, 8, 8))
    >>> model.metadata().outputs[0].shape
    (-1, 2)
    >>> model.check("letters")
    Traceback (most recent call last):
    ...
    raysplit.errors.RequestError: unknown model 'letters'; this server has 'digits'
    """

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height and width of its images."""

    def metadata(self) -> ModelMetadata:
        """Return the response to `GET /v2/models/NAME`."""
        shapes = {IMAGES: (-1, *self.shape), FILES: (-1, 1), PROBABILITIES: (-1, len(self.classes)), LABELS: (-1,)}
        tensors = {
            name: TensorMetadata(name=name, datatype=DATATYPES[name], shape=shape) for name, shape in shapes.items()
        }
        return ModelMetadata(
            name=self.name,
            versions=(self.version,),
            inputs=(tensors[IMAGES], tensors[FILES]),
            outputs=(tensors[PROBABILITIES], tensors[LABELS]),
        )


def server_metadata(*extensions: str) -> ServerMetadata:
    """Return the response to `GET /v2`.

    >>> server_metadata("binary_tensor_data").extensions
    ('binary_tensor_data',)
    """
    return ServerMetadata(name="raysplit", version=importlib.metadata.version("raysplit"), extensions=extensions)
