"""The plan of an ensemble: which sub-model knows which classes, how large it is and where it runs."""

from __future__ import annotations

from pydantic import Field

from raysplit.config.model import ModelConfig
from raysplit.records.ensemble_summary import DeviceLoad, NetworkKind
from raysplit.utils.frozen import Frozen


class SubmodelSpec(Frozen):
    """One sub-model as planned, before anything is pruned."""

    classes: tuple[int, ...]
    """Its own classes, as indices into all of them."""
    total_classes: int = Field(alias="of")
    """Number of classes of the data set."""
    rest: bool
    """Whether its head has an output for "any other class", which is then the first."""
    k: int
    """It keeps k of the base's `size_steps`."""
    model: ModelConfig
    params: int
    file_bytes: int
    flops: int
    """For one image; a MAC is 2."""
    device: str | None = None
    """Name of its device; None where no devices were given."""

    @property
    def outputs(self) -> int:
        """Width of its head."""
        return len(self.classes) + self.rest


class EnsemblePlan(Frozen):
    """All sub-models of an ensemble, as `plan.json` of a build holds them."""

    kind: NetworkKind
    size_steps: int = Field(alias="steps")
    """h: the base's size is divided into h equal steps, of which a sub-model keeps k."""
    shape: tuple[int, int, int]
    """Channels, height and width of the images."""
    submodels: tuple[SubmodelSpec, ...] = Field(alias="seats")
    loads: tuple[DeviceLoad, ...] = ()
    """The work of each device; empty where no devices were given."""

    @property
    def sizes(self) -> list[int]:
        """The different k of the sub-models, ascending."""
        return sorted({spec.k for spec in self.submodels})
