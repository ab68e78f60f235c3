"""What an application takes as `args` in a Serve config: the only keys there that are ours."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raysplit.config import Frozen

INGRESS = "Ingress"
"""Name of the deployment that speaks HTTP for an ensemble."""
_ALONE = "submodel-"


class Limits(Frozen):
    """What a request may be; anything larger is refused before it costs memory."""

    body_mib: Annotated[float, Field(gt=0)] = 16.0
    """Of a request's body, in 2**20 bytes, as it arrives and after it is decompressed."""
    pixels: Annotated[int, Field(ge=1)] = 20_000_000
    """Of one image file, as its header says, before it is decoded."""
    images: Annotated[int, Field(ge=1)] = 64
    """Of one request."""


class Access(Frozen):
    """Who may ask."""

    api_key_env: str | None = None
    """Environment variable of the replicas that holds the key clients must send as `X-API-Key`; None: no key."""
    anyone: bool = False
    """Without a key, answer clients of other machines too, not those of this machine alone."""


class AppArgs(Frozen):
    """What all applications take."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = "raysplit"
    """Name of the model in URLs: `/v2/models/NAME`."""
    limits: Limits = Limits()
    access: Access = Access()


class EnsembleArgs(AppArgs):
    """What `raysplit.serving.ensemble:build` takes."""

    bundle: str
    """Folder of an ensemble, a path or URI that every node can read."""
    max_batch: Annotated[int, Field(ge=1)] = 64
    """Images, of one request or of several, that go through the network together."""
    batch_wait_s: Annotated[float, Field(ge=0)] = 0.0
    """Time that the first request of a batch waits for others. Without it too, requests that come while batches are
    computed go together."""
    missing: Literal["wait", "drop", "fail"] = "drop"
    """What to do about a sub-model that does not answer in time: wait for it as long as the request may last, fill
    its features in and say so, or fail."""
    branch_timeout_s: Annotated[float, Field(gt=0)] = 2.0
    """How long a deployment of sub-models may take, queue included; without effect under `wait`."""
    groups: dict[str, tuple[Annotated[int, Field(ge=0)], ...]] = Field(default_factory=dict)
    """Sub-models by number that share a deployment, by its name; all others have one each, `submodel-N`."""
    top: Annotated[int, Field(ge=1)] = 3
    """Classes that an answer names."""

    @model_validator(mode="after")
    def _fits_a_batch(self) -> EnsembleArgs:
        if self.limits.images > self.max_batch:
            raise ValueError(
                f"limits.images {self.limits.images} is more than max_batch {self.max_batch}; "
                "a request goes through the network in one batch"
            )
        return self

    @model_validator(mode="after")
    def _disjoint(self) -> EnsembleArgs:
        counted = Counter(index for group in self.groups.values() for index in group)
        if twice := [index for index, times in counted.items() if times > 1]:
            raise ValueError(f"groups name sub-model {twice[0]} twice; each is in one deployment")
        if empty := [name for name, group in self.groups.items() if not group]:
            raise ValueError(f"group '{empty[0]}' has no sub-model; name at least one or leave it out")
        if taken := [name for name in self.groups if name == INGRESS or name.startswith(_ALONE)]:
            raise ValueError(
                f"group '{taken[0]}' is called like another deployment of the application; call it otherwise"
            )
        return self

    def deployments(self, n: int) -> dict[str, tuple[int, ...]]:
        """Return the sub-models of each deployment, for an ensemble of `n`, by the deployment's name.

        Raises ValueError for a group of sub-models that there are not.
        """
        for name, group in self.groups.items():
            if strange := [index for index in group if index >= n]:
                raise ValueError(f"group '{name}' names sub-model {strange[0]}; the ensemble has 0 to {n - 1}")
        grouped = {index for group in self.groups.values() for index in group}
        return self.groups | {f"{_ALONE}{index}": (index,) for index in range(n) if index not in grouped}


class SplitArgs(AppArgs):
    """What `raysplit.serving.split:build` takes."""

    family: str
    """Folder of a prune family, a path or URI that every node can read."""
