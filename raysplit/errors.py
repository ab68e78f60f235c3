"""Errors that a user can cause; the text of each names the thing, the place and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RaysplitError(Exception):
    """Base class of all errors that raysplit raises on purpose; the text is one line for a terminal.

    >>> from raysplit import recipe
    >>> try:
    ...     recipe("mnist5k_vgg11_depune")
    ... except RaysplitError as error:
    ...     print(error)
    no recipe is called 'mnist5k_vgg11_depune'. Nearest: mnist5k_vgg11_deprune, ...
    """


class ConfigError(RaysplitError):
    """A recipe, key or value that is unknown, invalid or contradicts another one."""


class DataError(RaysplitError):
    """A data set that is missing, malformed or empty; the text names the file and, if it applies, the row."""


class ModelError(RaysplitError):
    """An unknown model name, or a model that cannot be built or traced."""


class CutError(RaysplitError):
    """A network that cannot be cut, or not at the given place."""


class WireError(RaysplitError):
    """Bytes that are not a valid message, or a message that was not expected."""


class CodecError(RaysplitError):
    """A tensor that a codec cannot compress at the requested level."""


class DivergenceError(RaysplitError):
    """Training whose loss, gradients or weights are NaN or infinite."""


class BundleError(RaysplitError):
    """A folder that is not a bundle, or a bundle with a missing, damaged or contradictory file."""


class ClusterError(RaysplitError):
    """A Ray cluster that lacks the resources for a run or on which it fails, or a device that does not respond."""


class DeviceLostError(ClusterError):
    """A device of a run that has died or does not answer in time; `device` is its number, `late` says which."""

    def __init__(self, text: str, device: int = 0, late: bool = False):
        super().__init__(text)
        self.device, self.late = device, late


class RequestError(RaysplitError):
    """An HTTP request that is refused; `status` is the HTTP status of the response.

    With status 503, `retry_after_s` is when the request may be repeated; None: after the server's usual pause.
    """

    def __init__(self, text: str, status: int = 400, retry_after_s: int | None = None):
        super().__init__(text)
        self.status, self.retry_after_s = status, retry_after_s


class ServerError(RaysplitError):
    """A server that fails, or whose response is not a valid one."""


class LinkError(ServerError):
    """A server that could not be reached or did not respond in time."""


class MissingExtra(RaysplitError):
    """An optional dependency that is not installed; the text names the extra that installs it."""

    @classmethod
    def of(cls, package: str, extra: str, purpose: str) -> MissingExtra:
        """Return the error for a `purpose` that needs `package`, which the extra `extra` installs.

        >>> print(MissingExtra.of("optuna", "search", "raysplit search"))
        raysplit search needs the package 'optuna': pip install 'raysplit[search]'
        """
        return cls(f"{purpose} needs the package '{package}': pip install 'raysplit[{extra}]'")


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return a hint with the known names closest to `name`, to end an error's text with.

    Lists up to twelve of the known names if none is close, and is empty if there are none.

    >>> nearest("clasifier", ["features.7", "classifier"])
    'Nearest: classifier.'
    """
    known = [str(other) for other in known]
    close = difflib.get_close_matches(name, known, n=count, cutoff=0.4)
    if close:
        return f"Nearest: {', '.join(close)}."
    return f"Known: {', '.join(known[:12])}{', …' if len(known) > 12 else ''}." if known else ""
