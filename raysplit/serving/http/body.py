"""Reading the body of a request: chunk by chunk within limits, decompressed, and split into files."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Literal

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from raysplit.errors import RequestError
from raysplit.serving.args import Limits
from raysplit.serving.http.images import Upload, check_image_count

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_ENCODINGS = ("gzip", "deflate")
_MAX_ENCODINGS = 4
_GZIP, _ZLIB, _RAW = 31, 15, -15
"""Window bits for zlib, which select the container format of the stream."""
_FORM, _ANY = "multipart/form-data", "application/octet-stream"


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return the body of a request, decompressed according to its Content-Encoding.

    Raises RequestError: 413 as soon as the body exceeds its limit, as sent or decompressed; 415 for encodings other
    than gzip and deflate; 400 for a damaged or incomplete body.

    >>> import asyncio, gzip
    >>> async def receive():
    ...     return {"type": "http.request", "body": gzip.compress(b"pixels")}
    >>> request = Request({"type": "http", "headers": [(b"content-encoding", b"gzip")]}, receive)
    >>> asyncio.run(read_body(request, Limits()))
    b'pixels'
    """
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise RequestError(f"Content-Length {length[:80]!r} is not a number of bytes")
    # Count the digits first: Python refuses to parse numbers with thousands of them.
    if len(length.lstrip("0")) > 18 or int(length) > limits.body_bytes:
        raise _too_large(limits)
    decompressors = [_Decompressor(encoding, limits) for encoding in reversed(_content_encodings(request))]
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limits.body_bytes:
                raise _too_large(limits)
            for decompressor in decompressors:
                chunk = decompressor.decompress(chunk)
            chunks.append(chunk)
    except ClientDisconnect:
        raise RequestError("the connection was closed before the end of the request body") from None
    if size:
        for decompressor in decompressors:
            decompressor.finish()
    return b"".join(chunks)


def parse_uploads(
    body: bytes, content_type: str | None, limits: Limits, media: Literal["image", "audio"] = "image"
) -> tuple[Upload, ...]:
    """Return the image or audio files in a body: the body itself, or every file of a form.

    Raises RequestError: 415 for any other Content-Type, 413 for too many files, 400 for a form that is malformed, has
    no file, or has other fields.

    >>> parse_uploads(b"...", "image/png", Limits())
    (Upload(name=None, data=b'...'),)
    """
    try:
        kind, options = parse_options_header(content_type)
    except UnicodeEncodeError:
        kind, options = b"", {}
    if kind.decode("latin-1") == _FORM:
        return _parse_form(body, options.get(b"boundary", b""), limits)
    if kind.startswith(f"{media}/".encode()) or kind == _ANY.encode():
        return (Upload(None, body),)
    raise RequestError(
        f"Content-Type {(content_type or '')[:80]!r} is not supported; send one file as {media}/*, {_ANY}, or several "
        f"as {_FORM}",
        415,
    )


def _too_large(limits: Limits) -> RequestError:
    return RequestError(
        f"the request body is larger than {limits.body_mib:g} MiB (limits.body_mib), as sent or decompressed; "
        "send fewer or smaller images",
        413,
    )


def _content_encodings(request: Request) -> list[str]:
    """Return the encodings of the body in the order in which they were applied."""
    listed = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    names = [name.strip().removeprefix("x-") for name in listed]
    names = [name for name in names if name not in ("", "identity")]
    for name in names:
        if name not in _ENCODINGS:
            supported = ", ".join((*_ENCODINGS, "identity"))
            raise RequestError(f"Content-Encoding {name[:80]!r} is not supported; use {supported}", 415)
    if len(names) > _MAX_ENCODINGS:
        raise RequestError(f"Content-Encoding lists {len(names)} encodings; use at most {_MAX_ENCODINGS}", 415)
    return names


class _Decompressor:
    """Undoes one encoding chunk by chunk."""

    def __init__(self, encoding: str, limits: Limits):
        self._encoding, self._limits, self._bytes_left = encoding, limits, limits.body_bytes
        self._stream = zlib.decompressobj(_GZIP) if encoding == "gzip" else None

    def decompress(self, data: bytes) -> bytes:
        """Return what the next chunk decompresses to."""
        if not data:
            return b""
        if self._stream is None:
            # "deflate" is a zlib stream, but some clients leave out its header.
            self._stream = zlib.decompressobj(_ZLIB if data[0] & 0x8F == 0x08 else _RAW)
        if self._stream.eof:
            raise self._invalid("data after its end")
        try:
            output = self._stream.decompress(data, self._bytes_left + 1)
        except zlib.error as err:
            raise self._invalid(str(err)) from None
        if self._stream.unused_data:
            raise self._invalid("data after its end")
        self._bytes_left -= len(output)
        if self._bytes_left < 0:
            raise _too_large(self._limits)
        return output

    def finish(self) -> None:
        """Refuse a stream that is incomplete."""
        if self._stream is None or not self._stream.eof:
            raise self._invalid("incomplete")

    def _invalid(self, reason: str) -> RequestError:
        return RequestError(f"the request body is not a valid {self._encoding} stream: {reason}")


def _parse_form(body: bytes, boundary: bytes, limits: Limits) -> tuple[Upload, ...]:
    if not 0 < len(boundary) <= 70:
        raise RequestError(f"{_FORM} needs a boundary of 1 to 70 characters in the Content-Type")
    # The parser is slow where the content of a file resembles a boundary.
    if body.count(b"\r\n--" + boundary) > limits.images + 1:
        raise RequestError(f"the form has more than {limits.images} files (limits.images); send fewer", 413)
    handler = _FormHandler()
    try:
        MultipartParser(boundary, handler.callbacks()).write(body)
    except FormParserError as err:
        raise RequestError(f"malformed {_FORM}: {err}") from None
    if not handler.ended:
        raise RequestError(f"malformed {_FORM}: it ends before its last boundary")
    check_image_count(len(handler.files), limits)
    return tuple(handler.files)


class _FormHandler:
    """Collects files from the events of a form parser."""

    def __init__(self) -> None:
        self.files: list[Upload] = []
        self.ended = False
        self._header, self._value, self._disposition = b"", b"", b""
        self._filename: str | None = None
        self._data: list[bytes] = []

    def callbacks(self) -> MultipartCallbacks:
        """Return the parser's callbacks by its names for them."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._read_header_name,
            "on_header_value": self._read_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
            "on_part_end": lambda: self.files.append(Upload(self._filename, b"".join(self._data))),
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._disposition, self._data = b"", []

    def _read_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _read_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            field = options.get(b"name", b"").decode(errors="replace")
            raise RequestError(f"form field {field[:80]!r} is not a file; send only files, each with a filename")
        self._filename = options[b"filename"].decode(errors="replace")

    def _end(self) -> None:
        self.ended = True
