"""Where the file of a search space is; nothing in it is run, and nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

from raysplit.errors import ConfigError


def find_space_file(name: str) -> str:
    """Return the path of a space given as a Python file or like `tune_spaces.cut_and_level`.

    Relative paths start in the working directory. Raises ConfigError for a file that does not exist.
    """
    path = name if name.endswith(".py") else f"{name.replace('.', '/')}.py"
    if not Path(path).is_file():
        raise ConfigError(
            f"space '{name}': there is no file {path} in the working directory; name it like tune_spaces.cut_and_level"
        )
    return path
