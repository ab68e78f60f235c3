"""The `args` of raysplit's applications in a Serve config; all other keys there belong to Ray Serve.

>>> args = EnsembleArgs(bundle="bundles/digits", groups={"front": (0, 1)})
>>> args.missing, args.limits.images
('drop', 64)
>>> args.assign_deployments(4)
{'front': (0, 1), 'submodel-2': (2,), 'submodel-3': (3,)}
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raysplit.utils.frozen import Frozen

INGRESS = "Ingress"
"""Name of the deployment of an ensemble that speaks HTTP."""
SERVER = "Server"
"""Name of the only deployment of a split application."""
GATEWAY = "Gateway"
"""Name of the only deployment of a gateway."""
SUBMODEL_PREFIX = "submodel-"


class Limits(Frozen):
    """Upper bounds on a request. Anything larger is refused before it costs memory.

    >>> Limits(images=8).body_mib
    16.0
    """

    body_mib: Annotated[float, Field(gt=0)] = 16.0
    """Size of the body in MiB (2**20 bytes), both as sent and after decompression."""
    pixels: Annotated[int, Field(ge=1)] = 20_000_000
    """Pixels of one image file according to its header, checked before it is decoded; JPEG files, which can be decoded
    at a reduced size, may have four times as many. Of a recording, the samples of all channels."""
    images: Annotated[int, Field(ge=1)] = 64
    """Images per request; of recordings, the chunks that they are cut into."""

    @property
    def body_bytes(self) -> int:
        """`body_mib` in bytes."""
        return int(self.body_mib * 2**20)


class Access(Frozen):
    """Which clients are answered. By default only those on the node itself."""

    api_key_env: str | None = None
    """Environment variable of the replicas holding the key that clients must send as `X-API-Key`; None: no key."""
    anyone: bool = False
    """Answer every client without a key, not only those on the same machine."""


class AppArgs(Frozen):
    """Arguments that all applications take."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = "raysplit"
    """Name of the model in URLs: `/v2/models/NAME`."""
    limits: Limits = Limits()
    access: Access = Access()
    cors: tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s*]+)$")], ...] = ()
    """Origins of web pages that may send requests, like `https://shop.example:8443`; `*` for all, empty for none."""


class EnsembleArgs(AppArgs):
    """Arguments of `raysplit.serving.ensemble:build`.

    >>> args = EnsembleArgs(bundle="s3://models/digits", missing="wait", limits=Limits(images=8), max_batch=16)
    >>> args.limits.images, args.max_batch, args.top
    (8, 16, 3)
    """

    bundle: str
    """Folder of the ensemble: a path or URI that every node can read."""
    max_batch: Annotated[int, Field(ge=1)] = 64
    """Maximum number of images, from one request or several, that go through the network together."""
    batch_wait_s: Annotated[float, Field(ge=0)] = 0.0
    """Seconds that a batch which is not full waits for more requests. Even at 0, requests that arrive while batches
    are being computed are put together."""
    missing: Literal["wait", "drop", "fail"] = "drop"
    """What to do when a sub-model does not answer in time: `wait` until the request itself times out, `drop` it (fill
    in its features and mark the answer as degraded), or `fail` the request."""
    branch_timeout_s: Annotated[float, Field(gt=0)] = 2.0
    """Seconds that a deployment of sub-models may take, queueing included; ignored with `missing: wait`."""
    groups: dict[str, tuple[Annotated[int, Field(ge=0)], ...]] = Field(default_factory=dict)
    """Sub-models, by number, that share a deployment, by its name; each of the others has its own, `submodel-N`."""
    top: Annotated[int, Field(ge=1)] = 3
    """Number of classes listed per image, most likely first."""

    @model_validator(mode="after")
    def _check_batch_size(self) -> EnsembleArgs:
        if self.limits.images > self.max_batch:
            raise ValueError(
                f"limits.images {self.limits.images} is more than max_batch {self.max_batch}; "
                "a request has to fit into one batch"
            )
        return self

    @model_validator(mode="after")
    def _check_groups(self) -> EnsembleArgs:
        counts = Counter(index for group in self.groups.values() for index in group)
        if repeated := [index for index, count in counts.items() if count > 1]:
            raise ValueError(f"groups list sub-model {repeated[0]} twice; a sub-model belongs to one deployment")
        if empty := [name for name, group in self.groups.items() if not group]:
            raise ValueError(f"group '{empty[0]}' is empty; list at least one sub-model or remove the group")
        if taken := [name for name in self.groups if name == INGRESS or name.startswith(SUBMODEL_PREFIX)]:
            raise ValueError(f"group '{taken[0]}' clashes with another deployment of the application; rename it")
        return self

    def assign_deployments(self, submodel_count: int) -> dict[str, tuple[int, ...]]:
        """Return the sub-models of each deployment, by its name, for an ensemble of `submodel_count` sub-models.

        Raises ValueError for a group with a sub-model that the ensemble does not have.
        """
        for name, group in self.groups.items():
            if unknown := [index for index in group if index >= submodel_count]:
                raise ValueError(
                    f"group '{name}' lists sub-model {unknown[0]}; the ensemble has sub-models 0 to "
                    f"{submodel_count - 1}"
                )
        grouped = {index for group in self.groups.values() for index in group}
        own = {f"{SUBMODEL_PREFIX}{index}": (index,) for index in range(submodel_count) if index not in grouped}
        return self.groups | own


class SplitArgs(AppArgs):
    """Arguments of `raysplit.serving.split:build`.

    >>> SplitArgs(family="bundles/digits_family").access.anyone
    False
    """

    family: str
    """Folder of a family or of a run: a path or URI that every node can read."""

    @model_validator(mode="after")
    def _check_limits(self) -> SplitArgs:
        if self.limits.pixels != Limits().pixels:
            raise ValueError("limits.pixels is of image files, which devices decode themselves; leave it out")
        return self


class GatewayLimits(Frozen):
    """Upper bounds on what joined devices cost. Anything beyond is refused, and the device told why."""

    letter_mib: Annotated[float, Field(gt=0)] = 256.0
    """Size of one answer in MiB (2**20 bytes): the weights of a device half, or its state, cross in one."""
    devices: Annotated[int, Field(ge=1)] = 1000
    """Devices that may have joined at a time."""
    joins_per_minute: Annotated[int, Field(ge=1)] = 120
    """Attempts to connect from one address; as many may come at once."""
    hello_s: Annotated[float, Field(gt=0)] = 10.0
    """Seconds in which a device that has connected must have said its hello."""
    stall_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds in which the next 256 KiB of an answer must come that has begun."""

    @property
    def letter_bytes(self) -> int:
        """`letter_mib` in bytes."""
        return int(self.letter_mib * 2**20)


class GatewayArgs(Frozen):
    """Arguments of `raysplit.serving.gateway:build`.

    >>> GatewayArgs(keys="keys.txt").limits.devices
    1000
    """

    keys: str
    """File with the name of each device and the SHA-256 of its key, as `raysplit key` writes it; read again when it
    changes."""
    limits: GatewayLimits = GatewayLimits()
    lease_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which the devices of a run that is not heard of are free for another one."""
