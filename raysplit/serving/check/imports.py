"""Whether there is something to serve where an application's `import_path` points."""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

from ray.serve import Application

from raysplit.errors import nearest
from raysplit.serving.check.finding import Finding, at, mapping

_NO_CODE = {"env_vars", "config"}
"""Keys of a runtime_env that bring no code with them."""


def with_colon(import_path: str) -> str:
    """Return an import path as `module:attribute`, which may also be written with a dot."""
    return import_path if ":" in import_path else ":".join(import_path.rsplit(".", 1))


def check_import(app: Mapping[Any, Any], path: str, here: bool) -> Iterator[Finding]:
    """Import what an application names; modules of others that come with a `runtime_env`, or are not `here`, may fail.

    As `serve run` does, looks in the working directory first.
    """
    given = app.get("import_path")
    if not isinstance(given, str) or not all(parts := with_colon(given).partition(":")):
        return  # the schema has said so
    module_name, name = parts[0], parts[2]
    elsewhere = not here or bool(set(mapping(app.get("runtime_env"))) - _NO_CODE)
    where = at(path, "import_path")
    with _working_directory_first():
        try:
            module = import_module(module_name)
        except (Exception, SystemExit) as err:
            if not elsewhere or module_name.startswith("raysplit."):
                yield Finding(where, _not_imported(module_name, err))
            return
        try:
            found = getattr(module, name)
        except AttributeError:
            yield Finding(where, f"module '{module_name}' has no '{name}'. {nearest(name, _served_by(module))}")
            return
        except Exception as err:
            yield Finding(where, str(err))
            return
    if isinstance(found, Application):
        if mapping(app.get("args")):
            yield Finding(at(path, "args"), f"'{given}' is built already and takes no args; name a builder function")
    elif not isinstance(found, FunctionType):
        yield Finding(where, f"'{given}' is {type(found).__name__}, not an application or a function that builds one")


@contextmanager
def _working_directory_first() -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = before


def _not_imported(module: str, err: BaseException) -> str:
    absent = err.name if isinstance(err, ModuleNotFoundError) else None
    if absent is None or not f"{module}.".startswith(f"{absent}."):
        return f"module '{module}' cannot be imported ({type(err).__name__}: {' '.join(str(err).split())})"
    parent, _, last = absent.rpartition(".")
    places = getattr(sys.modules[parent], "__path__", ()) if parent else None
    siblings = [one.name for one in pkgutil.iter_modules(places)]
    return f"there is no module '{absent}'. {nearest(last, siblings)}"


def _served_by(module: ModuleType) -> list[str]:
    """Return names in a module that could be served."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    served = [name for name in own if isinstance(vars(module)[name], FunctionType) and not name.startswith("_")]
    return served + [name for name, value in vars(module).items() if isinstance(value, Application)]
