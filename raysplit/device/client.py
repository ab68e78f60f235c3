"""A device's client: the device half runs here, the server half there, at the level that keeps a latency target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from raysplit.data.decode import decode
from raysplit.data.schema import BadRow
from raysplit.device.compute_estimate import CompressionRatio, ComputeEstimate
from raysplit.device.halves import DeviceHalves
from raysplit.device.http import Exchange, HttpTransport, Request, Session, Transport
from raysplit.device.level_policy import LevelPolicy
from raysplit.device.link_estimate import LinkEstimate
from raysplit.errors import ConfigError, DataError, LinkError, ServerError
from raysplit.family.bundle import Family, load_family
from raysplit.wire.split_api import (
    FAMILY_HEADER,
    FAMILY_PATH,
    KEY_HEADER,
    LEVEL_HEADER,
    SPLIT_PATH,
    ClassProbability,
    SplitResponse,
    level_to_header,
)

Images = torch.Tensor | np.ndarray | Sequence[str | Path]
"""uint8 pixels (N, C, H, W) in the family's shape, or image files of any size."""


@dataclass(frozen=True)
class Seconds:
    """Where the time of a request went."""

    device: float
    """From pixels to message; decoding of image files apart."""
    link: float
    """All that is neither device nor server: crossing, connecting, waiting and a try that failed."""
    server: float
    """As it says: queue and compute."""

    @property
    def total(self) -> float:
        return self.device + self.link + self.server


@dataclass(frozen=True)
class ClientPrediction:
    """What the server says of some images, and what it took."""

    level: str
    """At which the images crossed."""
    images: tuple[tuple[ClassProbability, ...], ...]
    """Of each image the likeliest classes with their probabilities, likeliest first."""
    seconds: Seconds
    bytes_up: int
    """Of the message, header included; HTTP's own headers apart."""
    kept: bool
    """The total of `seconds` is within the target."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The likeliest class of each image."""
        return tuple(image[0].name for image in self.images)


class DeviceClient:
    """Classifies images with the device half of a family here and its server half behind a URL.

    For each request the level is the loosest that is forecast to be answered within `target_s` seconds, from the time
    that this device and the server took so far and what exchanges told of the link; the tightest where none is. A
    looser level is tried now and then, so that a link that got better is found out.

    Of one thread; the connection is kept open until `close`, or the end of a `with` block.

    Args:
        family: a prune family, or its path or URI; the device needs the device halves of its weights alone.
        url: of the server, like http://127.0.0.1:8000.
        target_s: seconds from pixels to answer.
        api_key: what the server wants in `X-API-Key`.
        timeout_s: how long the server may be silent before it is given up.
        transport: carries requests in place of HTTP over the machine's own network.

    Raises BundleError for a family that is damaged, ConfigError for a URL, key or target that is none.

    >>> with DeviceClient("family", "http://127.0.0.1:8000", target_s=0.2) as client:
    ...     client.family.about.shape  # client.predict(images) sends them
    (1, 8, 8)
    """

    def __init__(
        self,
        family: Family | str,
        url: str,
        *,
        target_s: float,
        api_key: str | None = None,
        timeout_s: float = 10.0,
        transport: Transport | None = None,
    ):
        if not (target_s > 0 and timeout_s > 0):
            raise ConfigError(f"target_s={target_s:g} and timeout_s={timeout_s:g} are seconds; both must be above 0")
        if api_key is not None and not (api_key and api_key.isascii() and api_key.isprintable()):
            raise ConfigError("the API key holds what no header can carry; use printable ASCII")
        self.family = load_family(family) if isinstance(family, str) else family
        self.url, self.target_s = url, target_s
        transport = transport or HttpTransport(url, timeout_s)
        self._clock, self._session = transport.clock, Session(url, transport)
        self._headers = {FAMILY_HEADER: self.family.id} | ({KEY_HEADER: api_key} if api_key else {})
        self._halves = DeviceHalves(self.family)
        self._chooser = LevelPolicy(target_s)
        self._link: LinkEstimate | None = None
        self._device, self._server = ComputeEstimate(), ComputeEstimate()
        self._squeezed = {level: CompressionRatio() for level in self._halves.levels}

    def predict(self, images: Images) -> ClientPrediction:
        """Return what the server says of images, which go in one message.

        Raises DataError for what is no image of this family; ServerError for a server that cannot be reached, is late
        or fails; RequestError when it refuses, as it does a device of another family.
        """
        pixels = self._pixels(images)
        link, count = self._link or self._met(), len(pixels)
        level = self._pick(link, count)
        start = self._clock.now()
        body = self._halves.message(pixels, level).to_bytes()
        device_s = self._clock.now() - start
        headers = self._headers | {LEVEL_HEADER: level_to_header(level), "Content-Type": "application/octet-stream"}
        exchange = self._asked(link, Request("POST", SPLIT_PATH, headers, body))
        said = self._read(exchange, count)
        server_s = said.seconds.queue + said.seconds.compute
        seconds = Seconds(device_s, max(exchange.total_s - server_s, 0.0), server_s)
        kept = seconds.total <= self.target_s
        link.saw(len(body), max(exchange.seconds - server_s, 0.0))
        self._chooser.told(kept)
        self._device.saw(count, device_s)
        self._server.saw(count, server_s)
        self._squeezed[level].saw(len(body), self._halves.most_bytes(level, count))
        return ClientPrediction(level, said.images, seconds, len(body), kept)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def __enter__(self) -> DeviceClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _met(self) -> LinkEstimate:
        """Measure the round trip by a first request; it also finds out whether the server is there and lets us in."""
        exchange = self._session.ask(Request("GET", FAMILY_PATH, self._headers))
        self._link = LinkEstimate(exchange.seconds)
        return self._link

    def _asked(self, link: LinkEstimate, request: Request) -> Exchange:
        start = self._clock.now()
        try:
            return self._session.ask(request)
        except LinkError:
            # A link that is too slow for the level must not keep it: the next request is sent at a tighter one.
            if (seconds := self._clock.now() - start) > self.target_s:
                link.saw(len(request.body), seconds)
                self._chooser.told(False)
            raise

    def _pick(self, link: LinkEstimate, count: int) -> str:
        levels = self._halves.levels
        sizes = [round(self._squeezed[level].share * self._halves.most_bytes(level, count)) for level in levels]
        compute_s = self._device.forecast(count) + self._server.forecast(count)
        return levels[self._chooser.pick(sizes, compute_s, link)]

    def _read(self, exchange: Exchange, count: int) -> SplitResponse:
        try:
            said = SplitResponse.model_validate_json(exchange.body)
        except ValidationError:
            raise ServerError(f"{self.url} answers what is no answer of a split server; is it one?") from None
        if len(said.images) != count:
            raise ServerError(f"{self.url} answers for {len(said.images)} images, {count} were sent")
        return said

    def _pixels(self, images: Images) -> torch.Tensor:
        if isinstance(images, torch.Tensor):
            return images
        if isinstance(images, np.ndarray):
            return torch.from_numpy(images)
        if isinstance(images, str | Path) or not images:
            raise DataError("give a list of one or more image files, or uint8 pixels (N, C, H, W)")
        channels, height, width = self.family.about.shape
        found = []
        for file in images:
            try:
                found.append(decode(Path(file), (height, width), channels))
            except BadRow as err:
                raise DataError(f"{file}: {err}; give 8-bit image files") from None
        return torch.from_numpy(np.stack(found))
