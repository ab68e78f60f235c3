"""A user's own model and codec files, kept with a run and its family: they are needed to load the network."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError
from raysplit.utils.user_code import UserClass, split_spec

if TYPE_CHECKING:  # which imports Parquet
    from raysplit.folders.run_dir import RunDir

MODEL_FILE, CODEC_FILE = "code/model.py", "code/codec.py"
"""Where a run and its family have a copy of each file."""
_log = logging.getLogger(__name__)


def read_user_files(config: SplitConfig) -> dict[str, bytes]:
    """Return the content of each user's file that a config's network needs, by `MODEL_FILE` or `CODEC_FILE`.

    What a file imports is not among them; a module beside it is named in a warning. Raises ConfigError for a file that
    is missing.
    """
    return {name: _read(spec) for name, spec in _specs(config).items()}


def kept_user_files(folder: RunDir, config: SplitConfig) -> dict[str, bytes]:
    """Return what `read_user_files` did when a run began; for a run of an earlier version, what it does now."""
    kept = {name: data for name in _specs(config) if (data := folder.find(name)) is not None}
    return kept or read_user_files(config)


def use_copies(config: SplitConfig, copies: Mapping[str, Path]) -> SplitConfig:
    """Return a config that loads the network's files from their copies, as far as there are any."""
    model, codec = config.model, config.codec
    if MODEL_FILE in copies:
        model = model.replaced(name=_moved(model.name, copies[MODEL_FILE]))
    if CODEC_FILE in copies and isinstance(codec, UserClass):
        codec = codec.replaced(target=_moved(codec.target, copies[CODEC_FILE]))
    return config.replaced(model=model, codec=codec)


def name_user_files(config: SplitConfig) -> dict[str, Path]:
    """Return the path of each user's file that a config's network needs, by `MODEL_FILE` or `CODEC_FILE`."""
    return {name: split_spec(spec)[0] for name, spec in _specs(config).items()}


def _moved(spec: str, path: Path) -> str:
    return f"{path}:{split_spec(spec)[1]}"


def _specs(config: SplitConfig) -> dict[str, str]:
    specs = {}
    if ".py:" in config.model.name:
        specs[MODEL_FILE] = config.model.name
    if isinstance(config.codec, UserClass):
        specs[CODEC_FILE] = config.codec.target
    return specs


def _read(spec: str) -> bytes:
    path, _ = split_spec(spec)
    try:
        data = path.read_bytes()
    except OSError as err:
        raise ConfigError(f"{spec} cannot be read: {err}; put the file back") from None
    if beside := [name for name in _imports(data) if _is_beside(path, name)]:
        _log.warning(
            "%s imports %s, which a family does not hold: where it is loaded, %s must be importable",
            path.name,
            ", ".join(beside),
            "it" if len(beside) == 1 else "they",
        )
    return data


def _imports(source: bytes) -> list[str]:
    """Return the outermost name of each module that Python source imports, in order."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # running the file says what is wrong
        return []
    return list(dict.fromkeys(name.partition(".")[0] for name in _imported(tree)))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def _is_beside(path: Path, name: str) -> bool:
    return (path.parent / f"{name}.py").is_file() or (path.parent / name / "__init__.py").is_file()
