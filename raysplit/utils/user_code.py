"""Functions and classes that live in a user's own file, written `path.py:name`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from functools import cached_property
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator

from raysplit.errors import ConfigError, nearest
from raysplit.utils.frozen import Frozen

Created = TypeVar("Created")
CLASS_PATH = r".+\.py:\w+"
USER_MODULE = "raysplit_user_"
"""How the names of modules begin that users' files become; no other process can import them."""


class UserClass(Frozen):
    """A class in a user's own file, and the keyword arguments that it is constructed with.

    The file runs when the class is first used, not when the config that names it is read.

    >>> _ = open("shapes.py", "w").write("class Square:\\n    def __init__(self, side): self.side = side")
    >>> UserClass(target="shapes.py:Square", args={"side": 3}).create().side
    3
    """

    kind: Literal["user"] = "user"
    target: str
    """`path.py:Class`."""
    args: dict[str, Any] = Field(default_factory=dict)

    @field_validator("target")
    @classmethod
    def _names_a_class(cls, target: str) -> str:
        if not re.fullmatch(CLASS_PATH, target):
            raise ValueError(f"'{target}' is not of the form path.py:Class")
        return target

    def create(self, *positional: Any) -> Any:
        """Return a new object of the class; ConfigError when the file, the class or an argument is at fault."""
        return create(self._loaded, self.target, *positional, **self.args)

    @cached_property
    def _loaded(self) -> type:
        return load_class(self.target)

    def __getstate__(self) -> dict[Any, Any]:
        # Another process cannot import the class's module: it loads the file itself.
        state = super().__getstate__()
        fields = {key: value for key, value in state["__dict__"].items() if key in type(self).model_fields}
        return state | {"__dict__": fields}


class ObjectRecord(Frozen):
    """What `config.json` holds in place of an object that was passed in memory: it cannot be loaded again."""

    kind: Literal["object"] = "object"
    name: str
    """Of its class."""

    @classmethod
    def of(cls, value: object) -> ObjectRecord:
        """Return the record of an object.

        >>> ObjectRecord.of(dict).name, ObjectRecord.of({}).name
        ('dict', 'dict')
        """
        return ObjectRecord(name=getattr(value, "__name__", type(value).__name__))

    def lost(self, key: str) -> ConfigError:
        """Return the error for a run that needs the object, which the config has under `key`."""
        return lost_object(key, self.name, "name it as path.py:Class")


def lost_object(key: str, name: str, instead: str) -> ConfigError:
    """Return the error for a run whose object `name`, in the config under `key`, existed in memory only.

    `instead` says what else can be done.
    """
    return ConfigError(
        f"{key} was an object in memory ({name}), which config.json cannot hold: pass it again with "
        f"config.replaced({key}=…), or {instead}"
    )


def load_function(spec: str) -> Callable[..., Any]:
    """Return the function that `path.py:function` names; the file is run afresh at every call.

    Raises ConfigError when the file or the function is missing, or when the file raises.
    """
    function: Callable[..., Any] = _load(spec, "function", inspect.isroutine)
    return function


def load_class(spec: str) -> type:
    """Return the class that `path.py:Class` names; the file is run afresh at every call.

    Raises ConfigError when the file or the class is missing, or when the file raises.
    """
    found: type = _load(spec, "class", inspect.isclass)
    return found


def create(factory: Callable[..., Created], name: str, *positional: Any, **named: Any) -> Created:
    """Call a class or function of a user's to get an object; whatever it raises becomes one ConfigError line.

    A keyword argument that it does not take is named, with the nearest that it takes.
    """
    try:
        return factory(*positional, **named)
    except ConfigError:
        raise
    except Exception as err:
        wrong = re.search(r"unexpected keyword argument '(\w+)'", str(err))
        if isinstance(err, TypeError) and wrong:
            hint = nearest(wrong[1], _keywords(factory))
            raise ConfigError(f"{name} takes no argument '{wrong[1]}'. {hint}".rstrip()) from err
        reason = str(err).strip().partition("\n")[0]
        raise ConfigError(f"{name} cannot be constructed: {type(err).__name__}: {reason}") from err


def split_spec(spec: str) -> tuple[Path, str]:
    """Return the absolute path of the file in `path.py:name`, and the name.

    >>> path, name = split_spec("mine.py:Half")
    >>> path.name, name
    ('mine.py', 'Half')
    """
    file, _, name = spec.rpartition(":")
    return Path(file).expanduser().resolve(), name


def _load(spec: str, kind: str, is_kind: Callable[[object], bool]) -> Any:
    form = "path.py:Class" if kind == "class" else f"path.py:{kind}"
    path, name = split_spec(spec)
    if path.suffix != ".py" or not name:
        raise ConfigError(f"'{spec}' is not of the form {form}")
    if not path.is_file():
        raise ConfigError(f"{spec}: there is no file {path}")
    module = _run(path, spec)
    found = getattr(module, name, None)
    if not is_kind(found):
        own = {key: value for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
        others = [key for key, value in own.items() if is_kind(value)]
        raise ConfigError(f"{spec}: {path.name} has no {kind} '{name}'. {nearest(name, others)}".rstrip())
    return found


def _run(path: Path, spec: str) -> ModuleType:
    # Two files called model.py must not share one entry in sys.modules.
    unique = f"{USER_MODULE}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    loader = SourceFileLoader(unique, str(path))
    module_spec = importlib.util.spec_from_file_location(unique, path, loader=loader)
    assert module_spec
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[unique] = module
    try:
        # Compiled here: bytecode beside the file may be of another source.
        exec(loader.source_to_code(path.read_bytes(), str(path)), vars(module))
    except Exception as err:
        del sys.modules[unique]
        raise ConfigError(f"{spec}: running {path.name} raised {type(err).__name__}: {err}") from err
    return module


def _keywords(factory: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(factory).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
