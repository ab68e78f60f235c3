"""A finished build of an ensemble in one object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from raysplit.records.summary import SplitName
from raysplit.utils.frozen import Record

NetworkKind = Literal["vit", "cnn", "snn"]
CostName = Literal["params", "mib", "gmac", "latency_ms", "feature_bytes", "spikes"]
"""A field of `SubmodelSummary` that can be added up over sub-models."""
ConfusionMatrix = tuple[tuple[int, ...], ...]
"""Counts of test images, true class × predicted class."""


def sum_by_device(costs: Sequence[float], devices: Sequence[str | None]) -> list[float]:
    """Return the total cost on each device; a sub-model without a device counts as on a device of its own.

    `costs` and `devices` have an entry for each sub-model.

    >>> sum_by_device([1.0, 2.0, 4.0], ["phone", None, "phone"])
    [5.0, 2.0]
    """
    totals: dict[str | int, float] = {}
    for index, (cost, device) in enumerate(zip(costs, devices, strict=True)):
        key = index if device is None else device
        totals[key] = totals.get(key, 0) + cost
    return list(totals.values())


class _OptionalFields(Record):
    """Leaves fields that were not measured out of the JSON."""

    _optional: ClassVar[frozenset[str]]

    @model_serializer(mode="wrap")
    def _omit_unmeasured(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if value is not None or key not in self._optional}


class DeviceLoad(Record):
    """The work of one device for one image."""

    device: str
    submodels: tuple[str, ...]
    """Indices of its sub-models, as text."""
    bytes: int
    """Of its sub-models' files."""
    flops: int
    """Operations for one image, all its sub-models; a MAC is 2."""
    seconds: float
    """For one image, its sub-models one after the other, at the device's `gflops_per_s`."""
    memory_share: float
    """Of its memory, 0..1."""
    energy_share: float | None
    """Of its energy, 0..1, after all images; None: it has no limit."""


class SubmodelSummary(_OptionalFields):
    """What one sub-model knows and costs."""

    _optional = frozenset({"spikes"})

    classes: tuple[str, ...]
    """Names of its own classes."""
    k: int
    """It keeps k of the base's size steps."""
    device: str | None
    """None: no devices were given."""
    params: int
    mib: float
    """Of its weights file, in 2**20 bytes."""
    gmac: float
    """For one image."""
    latency_ms: float
    """Median for one image on one thread."""
    feature_bytes: int
    """Bytes it sends to the fusion per image."""
    accuracy_own: float
    """On test images of its own classes, in 0..1."""
    spikes: float | None = None
    """Of a spiking network: spikes per image, over all layers and time steps."""


class StageSeconds(Record):
    """Seconds of each stage; sub-models are added up as if built one after the other."""

    base: float
    score: float
    """Scoring and pruning of all sub-models."""
    common: float = 0.0
    """Common networks; builds of older versions had none."""
    submodels: float
    """All work on sub-models, `score` included."""
    fusion: float


class EnsembleSummary(_OptionalFields):
    """What a build came to: `summary.json` of its folder (docs/ensembles.md). Accuracies are in 0..1."""

    _optional = frozenset({"test_from", "weights", "lost1", "lost2", "lost3", "base_spikes"})

    recipe: str
    kind: NetworkKind
    n: int
    """Number of sub-models."""
    classes: tuple[str, ...]
    accuracy: float
    """Fused, on the test split."""
    test_from: SplitName | None = None
    """The split of the data set that the test images are from, as in `RunSummary`."""
    weights: str | None = None
    """sha256 of the weights that the base started from, or is; None: it started from random ones."""
    base_accuracy: float
    lost1: float | None = None
    """Fused accuracy with one sub-model missing, the mean over the choices; None where none would be left."""
    lost2: float | None = None
    lost3: float | None = None
    precision: Literal["fp32", "bf16", "int8"]
    """Of the sub-models' files."""
    base_params: int
    base_mib: float
    """Of the base in fp32, in 2**20 bytes."""
    base_mib_like: float
    """Of the base at `precision`."""
    base_gmac: float
    base_latency_ms: float
    """Of the base in fp32."""
    base_latency_like_ms: float
    """Of the base in the dtype the sub-models compute in."""
    base_spikes: float | None = None
    mib_device_max: float
    """Of the device with the most; without devices each sub-model counts as on one of its own."""
    mib_total: float
    gmac_device_max: float
    gmac_total: float
    latency_ms_device_max: float
    latency_ms_total: float
    bytes_per_sample: int
    """Bytes of features sent to the fusion per image, all sub-models."""
    bytes_per_sample_raw: int
    """Bytes of the raw image."""
    submodels: tuple[SubmodelSummary, ...]
    devices: tuple[DeviceLoad, ...]
    confusion: ConfusionMatrix
    """Of the fused prediction."""
    base_confusion: ConfusionMatrix
    test_images: int
    """Of recordings, those: all chunks of one are answered together."""
    seconds: StageSeconds
    bundle: str
    """The bundle's location."""
    bundle_id: str

    @property
    def lost(self) -> dict[int, float]:
        """Fused accuracy by the number of missing sub-models, as far as it was measured."""
        shares = {1: self.lost1, 2: self.lost2, 3: self.lost3}
        return {count: share for count, share in shares.items() if share is not None}

    def cost_by_device(self, cost: CostName) -> list[float]:
        """Return the total of a cost on each device that has a sub-model (see `sum_by_device`)."""
        return sum_by_device([getattr(part, cost) for part in self.submodels], [part.device for part in self.submodels])
