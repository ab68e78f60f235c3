"""A device's client: it runs the device half and sends its code at the level that meets a latency target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from raysplit.data.inputs import DecodedFiles
from raysplit.device.compute_estimate import CompressionRatio, ComputeEstimate
from raysplit.device.halves import DeviceHalves
from raysplit.device.http import Exchange, HttpTransport, Request, Session, Transport
from raysplit.device.level_policy import LevelPolicy
from raysplit.device.link_estimate import LinkEstimate
from raysplit.device.server_url import hide_credentials
from raysplit.errors import ConfigError, DataError, LinkError, ServerError
from raysplit.family.bundle import Family, load_family
from raysplit.wire.split_api import (
    CHUNKS_HEADER,
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
"""uint8 pixels (N, C, H, W) in the family's shape, or files: images of any size, or recordings of any length."""


@dataclass(frozen=True)
class RequestTiming:
    """Where the time of a request went, in seconds."""

    device: float
    """From pixels to message; decoding of files is not included."""
    link: float
    """Everything that is neither device nor server: transfer, connecting, waiting, and a failed attempt."""
    server: float
    """As the server reports it: queue and compute."""

    @property
    def total(self) -> float:
        return self.device + self.link + self.server


@dataclass(frozen=True)
class ClientPrediction:
    """What the server predicts for some images, and what it cost."""

    level: str
    """The level at which the images were sent."""
    images: tuple[tuple[ClassProbability, ...], ...]
    """The most likely classes of each image or recording, most likely first."""
    seconds: RequestTiming
    bytes_up: int
    """Size of the message, its header included and HTTP's own headers not."""
    within_target: bool
    """Whether the total of `seconds` is within the target."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The most likely class of each image or recording."""
        return tuple(image[0].name for image in self.images)


class DeviceClient:
    """Classifies images with the device half of a family, and its server half behind a URL.

    Each request is sent at the loosest level that is forecast to be answered within `target_s` seconds, given how long
    the device, the server and the link have taken so far; if there is none, at the tightest. Now and then a looser
    level is tried, to find out whether the link has become faster.

    For use by one thread. The connection stays open until `close`, or until the end of a `with` block.

    Args:
        family: a family, or the path or URI of one or of a run; the device needs only the device halves of its weights.
        url: of the server, like http://127.0.0.1:8000; USER:PASSWORD@ before the host is sent as HTTP's basic
            authentication, and shown nowhere.
        target_s: seconds from pixels to answer.
        api_key: the key that the server expects in `X-API-Key`.
        timeout_s: how long the server may be silent before the request fails.
        ca: PEM file with the authorities, or the self-signed certificate, to trust in place of this machine's.
        transport: carries requests in place of HTTP over the machine's own network.

    Raises BundleError for a damaged family, ConfigError for an invalid URL, key or target.

    >>> with DeviceClient("family", "http://127.0.0.1:8000", target_s=0.2) as client:
    ...     client.family.manifest.shape  # client.predict(images) sends them
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
        ca: str | None = None,
        transport: Transport | None = None,
    ):
        if not (target_s > 0 and timeout_s > 0):
            raise ConfigError(f"target_s={target_s:g} and timeout_s={timeout_s:g} are seconds; both must be above 0")
        if api_key is not None and not (api_key and api_key.isascii() and api_key.isprintable()):
            raise ConfigError("the API key has characters that a header cannot carry; use printable ASCII")
        self.family = load_family(family) if isinstance(family, str) else family
        self.url, self.target_s = hide_credentials(url), target_s
        transport = transport or HttpTransport(url, timeout_s, ca)
        self._clock, self._session = transport.clock, Session(url, transport)
        self._headers = {FAMILY_HEADER: self.family.id} | ({KEY_HEADER: api_key} if api_key else {})
        self._halves = DeviceHalves(self.family)
        self._policy = LevelPolicy(target_s)
        self._link: LinkEstimate | None = None
        self._device, self._server = ComputeEstimate(), ComputeEstimate()
        self._ratios = {level: CompressionRatio() for level in self._halves.levels}

    def predict(self, images: Images) -> ClientPrediction:
        """Send images or recordings in one message and return what the server predicts.

        Raises DataError for anything that is not what this family was trained on; ServerError for a server that cannot
        be reached, is late or fails; RequestError when it refuses, for example because it has another family.
        """
        pixels, chunks = self._to_pixels(images)
        link, count = self._link or self._measure_round_trip(), len(pixels)
        level = self._choose_level(link, count)
        start = self._clock.now()
        body = self._halves.encode(pixels, level).to_bytes()
        device_s = self._clock.now() - start
        headers = self._headers | {LEVEL_HEADER: level_to_header(level), "Content-Type": "application/octet-stream"}
        if len(chunks) < count:
            headers[CHUNKS_HEADER] = ",".join(map(str, chunks))
        exchange = self._exchange(link, Request("POST", SPLIT_PATH, headers, body))
        response = self._parse(exchange, len(chunks))
        server_s = response.seconds.queue + response.seconds.compute
        timing = RequestTiming(device_s, max(exchange.total_s - server_s, 0.0), server_s)
        within_target = timing.total <= self.target_s
        link.observe(len(body), max(exchange.seconds - server_s, 0.0))
        self._policy.record(within_target)
        self._device.observe(count, device_s)
        self._server.observe(count, server_s)
        self._ratios[level].observe(len(body), self._halves.max_message_bytes(level, count))
        return ClientPrediction(level, response.images, timing, len(body), within_target)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def __enter__(self) -> DeviceClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _measure_round_trip(self) -> LinkEstimate:
        """Start the link's estimate by a small request, which also checks that the server is there and lets us in."""
        exchange = self._session.request(Request("GET", FAMILY_PATH, self._headers))
        self._link = LinkEstimate(exchange.seconds)
        return self._link

    def _exchange(self, link: LinkEstimate, request: Request) -> Exchange:
        start = self._clock.now()
        try:
            return self._session.request(request)
        except LinkError:
            # If the link is too slow for the level, the next request must be sent at a tighter one.
            if (seconds := self._clock.now() - start) > self.target_s:
                link.observe(len(request.body), seconds)
                self._policy.record(False)
            raise

    def _choose_level(self, link: LinkEstimate, count: int) -> str:
        levels = self._halves.levels
        sizes = [round(self._ratios[level].ratio * self._halves.max_message_bytes(level, count)) for level in levels]
        compute_s = self._device.forecast(count) + self._server.forecast(count)
        return levels[self._policy.choose(sizes, compute_s, link)]

    def _parse(self, exchange: Exchange, count: int) -> SplitResponse:
        try:
            response = SplitResponse.model_validate_json(exchange.body)
        except ValidationError:
            raise ServerError(f"{self.url} does not answer like a split server; check the URL") from None
        if len(response.images) != count:
            raise ServerError(f"{self.url} answered for {len(response.images)} images, {count} were sent")
        return response

    def _to_pixels(self, images: Images) -> DecodedFiles:
        if isinstance(images, np.ndarray):
            images = torch.from_numpy(images)
        if isinstance(images, torch.Tensor):
            return DecodedFiles(images, (1,) * len(images))
        if isinstance(images, str | Path) or not images:
            media = self.family.input.media
            raise DataError(f"give a list of one or more {media} files, or uint8 pixels (N, C, H, W)")
        return self.family.input.decode_files(images)
