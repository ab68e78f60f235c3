"""Objects that a config takes in place of a name: a network, data sets, a codec. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from raysplit.utils.user_code import ObjectRecord, UserClass

PREFIX = "object:"
"""Of the name under which `config.json` records a network or data set in memory."""

CodecSource = UserClass | ObjectRecord | Callable[..., Any] | None
"""A class in a file, the record of one in memory, the class itself, or None for the package's codec."""


class InMemoryData:
    """Map-style data sets in memory: `train`, and `test` if there is one.

    `decoded` caches the converted images, so that each sample is read once.

    >>> InMemoryData([("pixels", 0)]).name
    'object:list'
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
    """Return whether a value is a map-style data set: it has a length and items, and is neither text nor a mapping.

    >>> is_dataset([("pixels", 0)]), is_dataset("cifar10")
    (True, False)
    """
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
    """Return whether a value is a torch module, judged by its methods, since configs are read without torch.

    >>> is_module("vgg11")
    False
    """
    return all(callable(getattr(value, method, None)) for method in ("forward", "parameters", "state_dict"))


def read_module(value: Any) -> Any:
    """Return a torch module, or None for None; ValueError for anything else.

    >>> read_module(None) is None
    True
    """
    if value is not None and (isinstance(value, type) or not is_module(value)):
        what = f"the class {value.__name__}" if isinstance(value, type) else f"an object of {type(value).__name__}"
        raise ValueError(f"expected a torch.nn.Module, got {what}")
    return value


def read_codec(value: Any) -> CodecSource:
    """Return the codec of a config, given as `path.py:Class`, as a dict with `target` and `args`, or as the class.

    Raises ValueError for anything else, and for a class that lacks a codec's methods.

    >>> read_codec("mine.py:Half")
    UserClass(kind='user', target='mine.py:Half', args={})
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
"""A codec as a config field."""
