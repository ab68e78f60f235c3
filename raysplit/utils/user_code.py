"""Load a function that lives in a user's own file, written `path.py:function`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raysplit.errors import ConfigError, nearest


def load_function(spec: str) -> Callable[..., Any]:
    """Return the function that `path.py:function` names; the file is run afresh at every call.

    Raises ConfigError when the file or the function is missing, or when the file raises.
    """
    file, _, name = spec.rpartition(":")
    path = Path(file).expanduser().resolve()
    if not file.endswith(".py") or not name:
        raise ConfigError(f"'{spec}' is not of the form path.py:function")
    if not path.is_file():
        raise ConfigError(f"{spec}: there is no file {path}")
    # Two files called model.py must not share one entry in sys.modules.
    unique = f"raysplit_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    module_spec = importlib.util.spec_from_file_location(unique, path)
    assert module_spec and module_spec.loader
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[unique] = module
    try:
        module_spec.loader.exec_module(module)
    except Exception as err:
        del sys.modules[unique]
        raise ConfigError(f"{spec}: running {path.name} raised {type(err).__name__}: {err}") from err
    found = getattr(module, name, None)
    if not inspect.isroutine(found):
        functions = [key for key, value in vars(module).items() if inspect.isroutine(value)]
        raise ConfigError(f"{spec}: {path.name} has no function '{name}'. {nearest(name, functions)}".rstrip())
    return found
