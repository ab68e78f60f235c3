"""The error family: every error that a user can cause, each naming the thing, the place and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RaysplitError(Exception):
    """Base of all errors that raysplit raises on purpose; its text is one line fit for a terminal."""


class ConfigError(RaysplitError):
    """A recipe, key or value that does not describe a run."""


class DataError(RaysplitError):
    """A data set that is missing, malformed or empty; names the file and, where there is one, the row."""


class ModelError(RaysplitError):
    """A model name that nothing builds, or a model that cannot be built or traced."""


class CutError(RaysplitError):
    """A place in a model where the network cannot be cut."""


class WireError(RaysplitError):
    """Bytes that are not a valid message, or not the message that was expected."""


class CodecError(RaysplitError):
    """A tensor that a codec cannot carry at the level asked for."""


class BundleError(RaysplitError):
    """A bundle with a missing, damaged or contradictory file, or none at all."""


class ClusterError(RaysplitError):
    """A Ray cluster without room for the run, or a device that does not answer."""


class RequestError(RaysplitError):
    """A request over HTTP that is refused; `status` is the HTTP status of the answer."""

    def __init__(self, text: str, status: int = 400):
        super().__init__(text)
        self.status = status


class ServerError(RaysplitError):
    """A server that answers with a failure of its own, or not at all."""


class LinkError(ServerError):
    """A server that was not reached, or whose answer did not come in time."""


class MissingExtra(RaysplitError):
    """An optional dependency that is not installed; names the extra that brings it."""

    @classmethod
    def of(cls, package: str, extra: str, purpose: str) -> MissingExtra:
        """Return the error for `purpose`, which needs `package`, which `extra` brings."""
        return cls(f"{purpose} needs the package '{package}': pip install 'raysplit[{extra}]'")


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return a hint that lists the known names closest to `name`, for the end of an error's text."""
    known = [str(k) for k in known]
    close = difflib.get_close_matches(name, known, n=count, cutoff=0.4)
    if close:
        return f"Nearest: {', '.join(close)}."
    return f"Known: {', '.join(known[:12])}{', …' if len(known) > 12 else ''}." if known else ""
