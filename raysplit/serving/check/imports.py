"""Checking that the `import_path` of an application leads to something that can be served."""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

from ray.serve import Application

from raysplit.errors import nearest
from raysplit.serving.check.finding import Finding, as_mapping, join_path

_KEYS_WITHOUT_CODE = {"env_vars", "config"}
"""Keys of a runtime_env that bring no code."""


def normalize_import_path(import_path: str) -> str:
    """Return an import path as `module:attribute`; Serve also allows a dot in place of the colon.

    >>> normalize_import_path("raysplit.serving.ensemble.build")
    'raysplit.serving.ensemble:build'
    """
    return import_path if ":" in import_path else ":".join(import_path.rsplit(".", 1))


def check_import(app: Mapping[Any, Any], path: str, local: bool) -> Iterator[Finding]:
    """Import what an application names, looking in the working directory first, as `serve run` does.

    Modules outside raysplit may be missing if a `runtime_env` brings them, or if the config is not `local`.

    >>> for finding in check_import({"import_path": "raysplit.serving.ensembel:build"}, "applications[0]", local=True):
    ...     print(finding)
    applications[0].import_path: there is no module 'raysplit.serving.ensembel'. Nearest: ensemble.
    """
    import_path = app.get("import_path")
    if not isinstance(import_path, str) or not all(parts := normalize_import_path(import_path).partition(":")):
        return  # reported by the schema
    module_name, name = parts[0], parts[2]
    may_be_missing = not local or bool(set(as_mapping(app.get("runtime_env"))) - _KEYS_WITHOUT_CODE)
    where = join_path(path, "import_path")
    with _working_directory_first():
        try:
            module = import_module(module_name)
        except (Exception, SystemExit) as err:
            if not may_be_missing or module_name.startswith("raysplit."):
                yield Finding(where, _describe_import_error(module_name, err))
            return
        try:
            target = getattr(module, name)
        except AttributeError:
            yield Finding(where, f"module '{module_name}' has no '{name}'. {nearest(name, _list_servable(module))}")
            return
        except Exception as err:
            yield Finding(where, str(err))
            return
    if isinstance(target, Application):
        if as_mapping(app.get("args")):
            text = f"'{import_path}' is already built and takes no args; name a builder function instead"
            yield Finding(join_path(path, "args"), text)
    elif not isinstance(target, FunctionType):
        kind = type(target).__name__
        yield Finding(where, f"'{import_path}' is a {kind}, not an application or a function that builds one")


@contextmanager
def _working_directory_first() -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = before


def _describe_import_error(module: str, err: BaseException) -> str:
    missing = err.name if isinstance(err, ModuleNotFoundError) else None
    if missing is None or not f"{module}.".startswith(f"{missing}."):
        return f"module '{module}' cannot be imported ({type(err).__name__}: {' '.join(str(err).split())})"
    parent, _, last = missing.rpartition(".")
    search_path = getattr(sys.modules[parent], "__path__", ()) if parent else None
    siblings = [info.name for info in pkgutil.iter_modules(search_path)]
    return f"there is no module '{missing}'. {nearest(last, siblings)}"


def _list_servable(module: ModuleType) -> list[str]:
    """Return the names in a module that could be served: its public functions and its applications."""
    exported = getattr(module, "__all__", ())
    values = {name: getattr(module, name, None) for name in (*vars(module), *exported)}  # some are made on access
    return [
        name
        for name, value in values.items()
        if isinstance(value, Application)
        or (isinstance(value, FunctionType) and _is_public(name, value, module, exported))
    ]


def _is_public(name: str, function: FunctionType, module: ModuleType, exported: Collection[str]) -> bool:
    return name in exported or (function.__module__ == module.__name__ and not name.startswith("_"))
