"""Objects that a config takes in place of a name: a network, data sets, a codec. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from raysplit.utils.user_code import ObjectRecord, UserClass

PREFIX = "object:"
"""Of the name that `config.json` keeps of a network or data set in memory."""

CodecSource = UserClass | ObjectRecord | Callable[..., Any] | None


class InMemoryData:
    """Map-style data sets in memory: `train`, and `test` where it has one of its own.

    What they were converted to is kept in `decoded`, so that each sample is read once.
    """

    def __init__(self, train: Any, test: Any = None):
        for dataset in (train, test):
            if dataset is not None and not is_dataset(dataset):
                hint = "; pass its dataset" if is_dataset(getattr(dataset, "dataset", None)) else ""
                raise ValueError(
                    f"{type(dataset).__name__} is not a map-style data set, which has __len__ and __getitem__{hint}"
                )
        self.train, self.test = train, test
        self.decoded: dict[Any, Any] = {}

    @property
    def name(self) -> str:
        """The class of the training set, marked as an object in memory."""
        return f"{PREFIX}{type(self.train).__name__}"

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"decoded": {}}


def is_dataset(value: object) -> bool:
    """Whether a value is a map-style data set: it has a length and items, and is neither text nor a mapping."""
    sized = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return sized and not isinstance(value, str | bytes | Mapping | type)


def read_dataset(value: Any) -> InMemoryData | None:
    """Return the data sets that were given: one, a tuple (train, test), or a dict with these keys.

    Raises ValueError for what is not a map-style data set.

    >>> read_dataset([("pixels", 0)]).test is None
    True
    """
    if value is None or isinstance(value, InMemoryData):
        return value
    if isinstance(value, Mapping):
        if not {"train"} <= set(value) <= {"train", "test"}:
            raise ValueError(
                f"a dict of data sets has the keys train and test, this one has {', '.join(map(str, value))}"
            )
        return InMemoryData(value["train"], value.get("test"))
    if isinstance(value, tuple) and len(value) == 2:
        return InMemoryData(*value)
    return InMemoryData(value)


def is_module(value: object) -> bool:
    """Whether a value is a torch module, told by its methods: configs are read without torch."""
    return all(callable(getattr(value, method, None)) for method in ("forward", "parameters", "state_dict"))


def read_module(value: Any) -> Any:
    """Return a torch module; ValueError for anything else."""
    if value is not None and (isinstance(value, type) or not is_module(value)):
        what = f"the class {value.__name__}" if isinstance(value, type) else f"an object of {type(value).__name__}"
        raise ValueError(f"expected a torch.nn.Module, got {what}")
    return value


def read_codec(value: Any) -> CodecSource:
    """Return what a config says of its codec: `path.py:Class`, a dict with `target` and `args`, or the class itself.

    Raises ValueError for what is none of them, and for a class that lacks a codec's methods.
    """
    if isinstance(value, str):
        return UserClass(target=value)
    if isinstance(value, dict):
        return ObjectRecord.model_validate(value) if value.get("kind") == "object" else UserClass.model_validate(value)
    if value is None or isinstance(value, UserClass | ObjectRecord):
        return value
    if isinstance(value, type):
        missing = [name for name in ("compress", "extract", "estimate") if not callable(getattr(value, name, None))]
        if missing:
            raise ValueError(f"{value.__name__} is not a codec: it has no method {', '.join(missing)}")
    elif callable(getattr(value, "compress", None)) or not callable(value):
        raise ValueError(
            f"expected a codec's class, got an object of {type(value).__name__}: each level and direction has its own"
        )
    source: Callable[..., Any] = value
    return source


def _write_codec(source: CodecSource) -> dict[str, Any] | None:
    if isinstance(source, UserClass | ObjectRecord):
        return source.model_dump(mode="json")
    return None if source is None else ObjectRecord.of(source).model_dump()


AnyCodec = Annotated[CodecSource, PlainValidator(read_codec), PlainSerializer(_write_codec)]
"""A codec as a config field; None is the package's own (`raysplit.compress.QuantizingCodec`)."""
