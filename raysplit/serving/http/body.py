"""The body of a request: read and decompressed by chunks within bounds, and the image files in it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from raysplit.errors import RequestError
from raysplit.serving.args import Limits
from raysplit.serving.http.images import Upload, check_count

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_ENCODINGS = ("gzip", "deflate")
_MAX_ENCODINGS = 4
_GZIP, _ZLIB, _RAW = 31, 15, -15
"""Window bits of zlib, which say what is around the stream."""
_FORM = "multipart/form-data"
_FILES = ("image/jpeg", "image/png", "application/octet-stream")


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return a request's body, decompressed as its Content-Encoding says.

    Raises RequestError: 413 as soon as it is larger than it may be, as sent or decompressed, 415 for encodings
    other than gzip and deflate, 400 for a damaged or broken-off one.
    """
    room = int(limits.body_mib * 2**20)
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise RequestError(f"Content-Length {length[:80]!r} is no number of bytes")
    # Compared by digits first: Python refuses to read numbers of thousands of digits.
    if len(length.lstrip("0")) > 18 or int(length) > room:
        raise _too_large(limits)
    encodings = _encodings(request)
    decoders = [_Inflater(name, limits) for name in reversed(encodings)]
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > room:
                raise _too_large(limits)
            for decoder in decoders:
                chunk = decoder.decode(chunk)
            chunks.append(chunk)
    except ClientDisconnect:
        raise RequestError("the connection was closed before the end of the request's body") from None
    if size:
        for decoder in decoders:
            decoder.end()
    return b"".join(chunks)


def uploads(body: bytes, content_type: str | None, limits: Limits) -> tuple[Upload, ...]:
    """Return the image files in a body: the body itself, or each file of a form.

    Raises RequestError: 415 for another Content-Type, 413 for too many files, 400 for a form that is malformed,
    has no file, or has other fields.
    """
    try:
        kind, options = parse_options_header(content_type)
    except UnicodeEncodeError:
        kind, options = b"", {}
    if kind.decode("latin-1") == _FORM:
        return _form(body, options.get(b"boundary", b""), limits)
    if kind.decode("latin-1") in _FILES:
        return (Upload(None, body),)
    raise RequestError(
        f"Content-Type {(content_type or '')[:80]!r} is not supported; send a file as {', '.join(_FILES)}, or "
        f"several as {_FORM}",
        415,
    )


def _too_large(limits: Limits) -> RequestError:
    return RequestError(
        f"the request's body is larger than {limits.body_mib:g} MiB (limits.body_mib), as sent or decompressed; "
        "send fewer or smaller images",
        413,
    )


def _encodings(request: Request) -> list[str]:
    """Return the names of the encodings, in the order in which they were applied."""
    named = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    names = [name.strip().removeprefix("x-") for name in named]
    names = [name for name in names if name not in ("", "identity")]
    for name in names:
        if name not in _ENCODINGS:
            supported = ", ".join((*_ENCODINGS, "identity"))
            raise RequestError(f"Content-Encoding {name[:80]!r} is not supported; send {supported}", 415)
    if len(names) > _MAX_ENCODINGS:
        raise RequestError(f"{len(names)} encodings of one body are too many; at most {_MAX_ENCODINGS}", 415)
    return names


class _Inflater:
    """Undoes one encoding, chunk by chunk."""

    def __init__(self, name: str, limits: Limits):
        self._name, self._limits, self._room = name, limits, int(limits.body_mib * 2**20)
        self._stream = zlib.decompressobj(_GZIP) if name == "gzip" else None

    def decode(self, data: bytes) -> bytes:
        """Return what comes out of the next bytes."""
        if not data:
            return b""
        if self._stream is None:
            # "deflate" is a zlib stream; some clients leave its header out.
            self._stream = zlib.decompressobj(_ZLIB if data[0] & 0x8F == 0x08 else _RAW)
        if self._stream.eof:
            raise self._damaged("goes on after its end")
        try:
            found = self._stream.decompress(data, self._room + 1)
        except zlib.error as err:
            raise self._damaged(str(err)) from None
        if self._stream.unused_data:
            raise self._damaged("goes on after its end")
        self._room -= len(found)
        if self._room < 0:
            raise _too_large(self._limits)
        return found

    def end(self) -> None:
        """Refuse a stream that broke off."""
        if self._stream is None or not self._stream.eof:
            raise self._damaged("breaks off")

    def _damaged(self, how: str) -> RequestError:
        return RequestError(f"the request's body is no {self._name} stream: {how}")


def _form(body: bytes, boundary: bytes, limits: Limits) -> tuple[Upload, ...]:
    if not 0 < len(boundary) <= 70:
        raise RequestError(f"{_FORM} needs a boundary of 1 to 70 characters in the Content-Type")
    # The parser is slow where files look as if they ended.
    if body.count(b"\r\n--" + boundary) > limits.images + 1:
        raise RequestError(f"the form's boundary ends more than {limits.images} files (limits.images); send fewer", 413)
    form = _Form()
    try:
        MultipartParser(boundary, form.callbacks()).write(body)
    except FormParserError as err:
        raise RequestError(f"malformed {_FORM}: {err}") from None
    if not form.ended:
        raise RequestError(f"malformed {_FORM}: it breaks off before its last boundary")
    check_count(len(form.files), limits)
    return tuple(form.files)


class _Form:
    """Gathers files from what the parser of a form calls out."""

    def __init__(self) -> None:
        self.files: list[Upload] = []
        self.ended = False
        self._header, self._value, self._disposition = b"", b"", b""
        self._name: str | None = None
        self._data: list[bytes] = []

    def callbacks(self) -> MultipartCallbacks:
        """Return what the parser calls, by its names for it."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
            "on_part_end": lambda: self.files.append(Upload(self._name, b"".join(self._data))),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition, self._data = b"", []

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            field = options.get(b"name", b"").decode(errors="replace")
            raise RequestError(f"field {field[:80]!r} of the form is no file; send files alone, each with a filename")
        self._name = options[b"filename"].decode(errors="replace")

    def _end(self) -> None:
        self.ended = True
