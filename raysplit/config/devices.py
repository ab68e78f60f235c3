"""How many devices train, what data each has, and how their halves become one (docs/devices.md)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from raysplit.config.availability import AvailabilityConfig
from raysplit.utils.frozen import Frozen, Name

DeviceMode = Literal["relay", "splitfed_v1", "splitfed_v2", "merged", "fedavg"]
_SHARDS = re.compile(r"(?P<kind>iid|dirichlet|classes|column)(?:\((?P<value>[^()]+)\))?")
_VALUES = {"dirichlet": "alpha", "classes": "classes", "column": "column"}


class Shards(Frozen):
    """How one data set is dealt to the devices; every row goes to exactly one of them.

    Prints as, and is read from, `iid`, `dirichlet(0.5)`, `classes(2)` or `column(speaker)`.

    >>> Shards("dirichlet(0.5)").alpha, str(Shards(kind="classes", classes=2))
    (0.5, 'classes(2)')
    """

    kind: Literal["iid", "dirichlet", "classes", "column"] = "iid"
    """`iid`: at random, in equal parts; `dirichlet`: each class by shares drawn from a Dirichlet distribution;
    `classes`: each device has this many of the classes; `column`: all rows with the same value of a Parquet column, or
    all recordings of the same speaker or song (`audio:PATH`), go to the same device."""
    alpha: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Concentration of the Dirichlet distribution: 0.1 is far from IID, 100 is near it."""
    classes: Annotated[int, Field(ge=1)] | None = None
    column: Name | None = None

    def __init__(self, text: str | None = None, /, **fields: Any):
        """Read shards from their text, or take their fields by name."""
        super().__init__(**(fields if text is None else _fields(text)))

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return _fields(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _parts_fit(self) -> Shards:
        for kind, key in _VALUES.items():
            given = getattr(self, key) is not None
            if given != (kind == self.kind):
                what = f"{self.kind} takes no {key}" if given else f"{kind} needs {key}"
                raise ValueError(f"{what}; write one of iid, dirichlet(0.5), classes(2), column(NAME)")
        return self

    @model_serializer(mode="plain")
    def _write(self) -> str:
        return str(self)

    def __str__(self) -> str:
        values = [value for value in (self.alpha, self.classes, self.column) if value is not None]
        return self.kind + "".join(f"({value:g})" if isinstance(value, float) else f"({value})" for value in values)


def _fields(text: str) -> dict[str, Any]:
    """Return the fields of shards from their text; ValueError for any other text."""
    found = _SHARDS.fullmatch(text.strip())
    if found is None or (found["value"] is None) != (found["kind"] == "iid"):
        raise ValueError(
            f"'{text}' does not say how data are dealt; write iid, dirichlet(0.5), classes(2), column(NAME)"
        )
    if found["kind"] == "iid":
        return {}
    key, value = _VALUES[found["kind"]], found["value"].strip()
    return {"kind": found["kind"], key: value}


class DevicesConfig(Frozen):
    """How many devices train, what each has, and how their halves become one. One device is a plain split run.

    An epoch of a run is a round: every device that takes part passes over its shard, and then holds the same half
    again.

    >>> DevicesConfig(mode="merged", count=4, shards="dirichlet(0.5)").shards.alpha
    0.5
    """

    count: Annotated[int, Field(ge=1, le=100_000)] = 1
    kind: Literal["real", "virtual"] = "real"
    """`virtual`: a few workers take the place of one device after the other, on one data set that all of them read."""
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    """How many workers there are for virtual devices; the weights do not depend on it."""
    machines: dict[Name, Annotated[float, Field(gt=0)]] = Field({"pi4": 1.0}, min_length=1)
    """Of virtual devices: names or files of machines with their weights, by which each device draws one."""
    links: dict[Name, Annotated[float, Field(gt=0)]] = Field({"wifi": 1.0}, min_length=1)
    """The same of links."""
    availability: AvailabilityConfig = AvailabilityConfig()
    """When virtual devices are slow, drop out or are away."""
    mode: DeviceMode = "splitfed_v2"
    """`relay`: one device half is handed on from device to device; otherwise all start a round with the same half, and
    their halves are averaged at its end. `splitfed_v1`: a server half for each device, averaged too. `splitfed_v2`: one
    server half, trained with one device after the other, in a new random order each round. `merged`: one server half,
    each step on the joined batches of all devices. `fedavg`: no server half, each device trains the whole network."""
    shards: Shards = Shards()
    """How the training, validation and test split are dealt to the devices, with the same shares of each class."""
    data: tuple[Name, ...] = ()
    """A data set for each device, in place of `data.name` and its shards: `folder:PATH`, `parquet:PATH`, …"""
    classes: tuple[Name, ...] = ()
    """With `data`: the names of all classes, where a device does not have each of them. Empty: all have the same."""
    per_round: Annotated[int, Field(ge=1)] | None = None
    """How many devices, drawn anew, take part in each round; None: all."""
    local_epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    """Passes over its shard that a device makes in a round."""
    round_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps of each device in a round, in place of whole passes; None: `local_epochs` passes."""
    weighting: Literal["samples", "equal"] = "samples"
    """Whether a device counts in an average by the samples that it trained on in the round, or like every other."""
    batch_norm: Literal["averaged", "local"] = "averaged"
    """Whether the running statistics of batch norm on the devices are averaged with the weights, or stay on each."""
    optimizer: Literal["kept", "reset", "shared"] = "kept"
    """Momentum and moments of the device halves (and, with `splitfed_v1`, of the server halves) from round to round:
    `kept` by each device; `reset` at the start of a round; `shared`: averaged or handed on with the weights."""

    source: Annotated[Literal["cluster", "gateway"], Field(alias="from")] = "cluster"
    """Where devices are: `cluster`: actors on the Ray cluster; `gateway`: outside, those that have joined by `raysplit
    join`, each with data of its own (docs/devices.md). In files and settings it is called `from`."""
    inside: Annotated[int, Field(ge=0)] = 0
    """With `from: gateway`: how many of the devices, the first ones, are actors on the cluster all the same; `data`
    names theirs."""
    names: tuple[Name, ...] = ()
    """With `from: gateway`: which devices outside take part, in order; empty: the first by name of those that join."""
    join_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """With `from: gateway`: how long a run waits until its devices have joined, in seconds."""

    missing: Literal["wait", "skip", "fail"] = "wait"
    """When a device dies or is late: `wait`: it is replaced and the round is trained again, at most `ray.max_failures`
    times; `skip`: the round is trained again without it, and it takes part again once it is back; `fail`: the run
    ends."""
    deadline_s: Annotated[float, Field(gt=0)] | None = None
    """How long the server waits for one device in a round, all its calls together, before it counts as missing, in
    seconds; None: `ray.call_timeout_s` for each call."""
    minimum: Annotated[int, Field(ge=1)] = 1
    """With fewer devices than this the run ends."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        written: dict[str, object] = write(self)
        fields = type(self).model_fields
        return {
            fields[key].alias or key: value
            for key, value in written.items()
            if getattr(self, key) != fields[key].default
        }

    @model_validator(mode="before")
    @classmethod
    def _count_data(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("count", 1) != 1:
            return value
        listed = [value.get(key) for key in ("data", "names")]
        count = sum(len(one) for one in listed if isinstance(one, list | tuple))
        return {**value, "count": count} if count else value

    @model_validator(mode="after")
    def _parts_fit(self) -> DevicesConfig:
        self._source_fits()
        if self.data and self.shards.kind != "iid":
            raise ValueError(
                f"shards={self.shards} deals one data set, and data names one for each; leave one of them out"
            )
        if self.classes and not self.data and self.source == "cluster":
            raise ValueError(
                "classes are those of devices with data of their own, and data is empty; leave classes out"
            )
        if len(set(self.classes)) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise ValueError(f"classes has '{twice}' twice; name each class once")
        if self.per_round is not None and self.per_round > self.count:
            raise ValueError(f"per_round={self.per_round} is more than count={self.count}; lower it")
        if self.minimum > self.count:
            raise ValueError(f"minimum={self.minimum} is more than count={self.count}; lower it")
        if self.deadline_s is not None and self.missing == "wait":
            raise ValueError(
                "missing=wait waits for a late device, and deadline_s does not; set missing to skip or fail"
            )
        if self.kind == "virtual":
            self._check_virtual()
        else:
            for key in ("workers", "machines", "links", "availability"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(
                        f"{key} is for virtual devices, and kind is real; set kind=virtual, or leave it out"
                    )
        if self.round_steps is not None and self.local_epochs != 1:
            raise ValueError("round_steps and local_epochs both say how long a round is; leave one of them out")
        return self

    def _check_virtual(self) -> None:
        if self.count == 1:
            raise ValueError("virtual devices are many, and count is 1; raise it, or set kind=real")
        if self.data:
            raise ValueError(
                "virtual devices share one data set, and data names one for each device; set data.name and shards, or "
                "kind=real"
            )
        if self.workers > self.count:
            raise ValueError(f"workers={self.workers} is more than count={self.count}; lower it")
        if self.missing != "wait" or self.deadline_s is not None or self.minimum != 1:
            raise ValueError(
                "virtual devices are not lost, and missing, deadline_s and minimum are for devices that are; leave "
                "them out"
            )

    def _source_fits(self) -> None:
        """Raise ValueError where data sets or names are not those of the devices that have them."""
        own = self.on_cluster
        if self.source == "gateway" and self.kind == "virtual":
            raise ValueError(
                "virtual devices are computed on the cluster, and from=gateway means others; set kind=real"
            )
        if self.source == "cluster" and (self.inside or self.names):
            raise ValueError("inside and names are for devices behind a gateway; set from=gateway, or leave them out")
        if self.inside >= self.count and self.source == "gateway":
            raise ValueError(f"inside={self.inside} leaves none of count={self.count} devices outside; lower it")
        if (self.data or self.inside) and len(self.data) != own:
            kind = " on the cluster" if self.inside else ""
            raise ValueError(f"data names {len(self.data)} data sets for {own} devices{kind}; name one for each")
        if self.source == "gateway" and self.shards.kind != "iid":
            raise ValueError(
                f"shards={self.shards} deals one data set, and devices outside have their own; leave it out"
            )
        if self.names and len(self.names) != self.count - self.inside:
            raise ValueError(f"names has {len(self.names)} names for {self.count - self.inside} devices; name each one")
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"names has '{twice}' twice; name each device once")

    @property
    def on_cluster(self) -> int:
        """How many devices are actors on the cluster."""
        return self.inside if self.source == "gateway" else self.count

    @property
    def own_data(self) -> bool:
        """Whether each device has a data set of its own; otherwise a shard of one."""
        return bool(self.data) or self.source == "gateway"

    @property
    def side_by_side(self) -> bool:
        """Whether devices train at the same time; otherwise, one after the other."""
        return self.mode not in ("relay", "splitfed_v2")
