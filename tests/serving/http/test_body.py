"""Bodies of requests: limits, encodings and forms."""

from __future__ import annotations

import asyncio
import gzip
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from raysplit.errors import RequestError
from raysplit.serving.args import Limits
from raysplit.serving.http.body import parse_uploads, read_body
from raysplit.serving.http.images import Upload
from tests.examples import examples

LIMITS = Limits(body_mib=1 / 16, images=3)
MAX_BYTES = 2**16
TEXT = b"the text of a body " * 50


def gzipped(data):
    """Compress without the time of day, which would make the names of tests differ between processes."""
    return gzip.compress(data, mtime=0)


class Client:
    """Sends a body in chunks, and counts those that were received."""

    def __init__(self, *chunks, disconnects=False, **headers):
        self.chunks, self.disconnects, self.received = list(chunks), disconnects, 0
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.headers = [
            (name.encode(), one.encode("latin-1"))
            for name, value in pairs
            for one in ([value] if type(value) is str else value)
        ]

    async def receive(self):
        if self.received == len(self.chunks) and self.disconnects:
            return {"type": "http.disconnect"}
        self.received += 1
        more = self.received < len(self.chunks) or self.disconnects
        return {
            "type": "http.request",
            "body": self.chunks[self.received - 1] if self.chunks else b"",
            "more_body": more,
        }

    def read(self, limits=LIMITS):
        request = Request({"type": "http", "headers": self.headers}, self.receive)
        return asyncio.run(read_body(request, limits))

    def refused(self, limits=LIMITS):
        with pytest.raises(RequestError) as raised:
            self.read(limits)
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 300
        return raised.value.status, str(raised.value)


def pieces(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


def raw_deflate(data):
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def test_plain():
    assert Client().read() == b""
    assert Client(b"").read() == b""
    assert Client(*pieces(TEXT, 7), content_length=str(len(TEXT))).read() == TEXT
    assert Client(bytes(MAX_BYTES), content_length=str(MAX_BYTES)).read() == bytes(MAX_BYTES)


def test_reading_stops_at_the_limit():
    client = Client(*[bytes(MAX_BYTES // 4)] * 100)
    status, text = client.refused()
    assert status == 413 and text.startswith("the request body is larger than 0.0625 MiB (limits.body_mib)")
    assert client.received == 5


@pytest.mark.parametrize("length", [str(MAX_BYTES + 1), "9" * 5000])
def test_a_content_length_above_the_limit_is_refused_unread(length):
    client = Client(b"", content_length=length)
    assert client.refused()[0] == 413 and client.received == 0


@pytest.mark.parametrize("length", ["", "-1", "1e3", " 1", "²", "1, 1"])
def test_a_content_length_that_is_not_a_number(length):
    assert Client(b"", content_length=length).refused()[0] == 400


@pytest.mark.parametrize("size", [1, 13, 10_000])
@pytest.mark.parametrize(
    ("names", "packed"),
    [
        ("gzip", gzipped(TEXT)),
        ("x-gzip", gzipped(TEXT)),
        (" GZIP , identity", gzipped(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", zlib.compress(TEXT, 0)),
        ("deflate", raw_deflate(TEXT)),
        ("deflate, gzip", gzipped(zlib.compress(TEXT))),
        (["gzip", "deflate"], zlib.compress(gzipped(TEXT))),
        ("gzip,gzip,gzip,gzip", gzipped(gzipped(gzipped(gzipped(TEXT))))),
        ("", TEXT),
        ("identity", TEXT),
    ],
)
def test_encodings(names, packed, size):
    assert Client(*pieces(packed, size), content_encoding=names).read() == TEXT


def test_an_empty_body_needs_no_stream():
    assert Client(content_encoding="gzip").read() == b""


@pytest.mark.parametrize("names", ["br", "zstd", "gzip, br", "compress", "*", "gzip;q=1", "x" * 999])
def test_other_encodings(names):
    client = Client(TEXT, content_encoding=names)
    status, text = client.refused()
    assert status == 415 and "use gzip, deflate, identity" in text and client.received == 0


def test_too_many_encodings():
    assert Client(TEXT, content_encoding=["gzip"] * 5).refused()[0] == 415


def test_decompression_bombs():
    """A megabyte for every kilobyte, and a terabyte after two encodings; what comes out is bounded all the same."""
    zeros = bytes(2**26)
    for names, packed in (
        ("gzip", gzipped(zeros)),
        ("deflate", zlib.compress(zeros)),
        ("deflate", raw_deflate(zeros)),
    ):
        client = Client(*pieces(packed, 1024), content_encoding=names)
        assert client.refused()[0] == 413 and client.received < 4
    twice = gzipped(gzipped(zeros))
    assert len(twice) < MAX_BYTES and Client(twice, content_encoding="gzip, gzip").refused()[0] == 413


def test_the_limit_counts_after_decompression():
    assert Client(gzipped(bytes(MAX_BYTES)), content_encoding="gzip").read() == bytes(MAX_BYTES)
    assert Client(gzipped(bytes(MAX_BYTES + 1)), content_encoding="gzip").refused()[0] == 413
    assert Client(gzipped(os.urandom(MAX_BYTES)), content_encoding="gzip").refused()[0] == 413


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize(
    ("name", "packed", "how"),
    [
        ("gzip", TEXT, "incorrect header check"),
        ("gzip", zlib.compress(TEXT), "incorrect header check"),
        ("gzip", gzipped(TEXT)[:-1], "incomplete"),
        ("gzip", gzipped(TEXT)[:-8] + bytes(8), "incorrect data check"),
        ("gzip", gzipped(TEXT) + b"x", "data after its end"),
        ("gzip", gzipped(TEXT) * 2, "data after its end"),
        ("deflate", zlib.compress(TEXT)[:-1], "incomplete"),
        ("deflate", raw_deflate(TEXT)[:-1], "incomplete"),
        ("deflate", b"\xff" * 9, "invalid block type"),
    ],
)
def test_damaged_streams(name, packed, how, size):
    status, text = Client(*pieces(packed, size), content_encoding=name).refused()
    assert status == 400 and text.startswith(f"the request body is not a valid {name} stream: ") and how in text


def test_a_client_that_disconnects():
    assert Client(b"abc", disconnects=True).refused() == (
        400,
        "the connection was closed before the end of the request body",
    )


@examples(200)
@given(st.lists(st.binary(max_size=50), max_size=4), st.lists(st.sampled_from(["gzip", "deflate", "identity", "br"])))
def test_any_stream_is_read_or_refused(chunks, names):
    try:
        Client(*chunks, content_encoding=names).read()
    except RequestError as err:
        assert err.status in (400, 415)


def form(*parts, boundary="b0", end=b"--b0--\r\n"):
    """Return a form's body and Content-Type from (Content-Disposition, bytes)."""
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: {head}\r\n\r\n".encode() + data + b"\r\n" for head, data in parts
    )
    return body + end, f"multipart/form-data; boundary={boundary}"


def file(name, data):
    return f'form-data; name="file"; filename="{name}"', data


def test_one_file_is_the_body():
    for kind in ("image/jpeg", "IMAGE/PNG", "image/heic", "image/x-unknown", "application/octet-stream; charset=x"):
        assert parse_uploads(b"data", kind, LIMITS) == (Upload(None, b"data"),)


def test_a_form_of_files():
    data = [b"\r\n--b\r\n--b0x\r\n-", b"", bytes(range(256))]
    sent = form(file("a.png", data[0]), file("Käfer.jpg", data[1]), file("", data[2]))
    assert parse_uploads(*sent, Limits(images=4)) == (
        Upload("a.png", data[0]),
        Upload("Käfer.jpg", data[1]),
        Upload("", data[2]),
    )
    body, kind = sent
    assert parse_uploads(b"\r\n" + body, kind.replace("b0", '"b0"'), Limits(images=4))[0].name == "a.png"


def test_other_headers_of_files_are_ignored():
    body = (
        b'--b0\r\nContent-Type: image/png\r\nCONTENT-DISPOSITION: form-data; name="f"; filename="x"\r\n'
        b"Content-Length: 2\r\n\r\nab\r\n--b0--"
    )
    assert parse_uploads(body, "multipart/form-data; boundary=b0", LIMITS) == (Upload("x", b"ab"),)


def bad_form(body, kind, limits=LIMITS):
    with pytest.raises(RequestError) as raised:
        parse_uploads(body, kind, limits)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300
    return raised.value.status, str(raised.value)


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "imagegif", "x" * 999, "é;a"]
)
def test_other_types(kind):
    status, text = bad_form(b"data", kind)
    assert status == 415 and "send one file as image/*, application/octet-stream, or several as" in text


def test_too_many_files():
    assert bad_form(*form(*[file("a", b"")] * 4)) == (
        413,
        "the request has 4 images, at most 3 are allowed (limits.images); send fewer",
    )
    assert bad_form(*form(*[file("a", b"")] * 5)) == (
        413,
        "the form has more than 3 files (limits.images); send fewer",
    )


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        ((b"", "multipart/form-data"), "multipart/form-data needs a boundary of 1 to 70"),
        ((b"", "multipart/form-data; boundary="), "multipart/form-data needs a boundary of 1 to 70"),
        ((b"", "multipart/form-data; boundary=" + "b" * 71), "multipart/form-data needs a boundary of 1 to 70"),
        ((b"", "multipart/form-data; boundary=b0"), "malformed multipart/form-data: it ends before its last boundary"),
        ((b"hello", "multipart/form-data; boundary=b0"), "malformed multipart/form-data: "),
        ((b"--b0--\r\n", "multipart/form-data; boundary=b0"), "the request has no image"),
        (form(file("a", b"x"), end=b""), "malformed multipart/form-data: it ends before its last boundary"),
        (form(file("a", b"x"), end=b"--b0"), "malformed multipart/form-data: it ends before its last boundary"),
        (form(('form-data; name="top"', b"3")), "form field 'top' is not a file"),
        ((b"--b0\r\n\r\nx\r\n--b0--", "multipart/form-data; boundary=b0"), "form field '' is not a file"),
        ((b"--b0\r\nA B: c\r\n\r\nx\r\n--b0--", "multipart/form-data; boundary=b0"), "malformed multipart/form-data: "),
    ],
)
def test_bad_forms(sent, fault):
    status, text = bad_form(*sent)
    assert status == 400 and text.startswith(fault)


HEADS = ['form-data; filename="a"', "form-data; name=x", "", "filename=", '"', "é; filename*=utf-8''a"]


@examples(300)
@given(
    st.lists(st.tuples(st.sampled_from(HEADS) | st.text(max_size=9), st.binary(max_size=30)), max_size=4),
    st.sampled_from([b"--b0--", b"--b0", b"--b0\r\n", b""]) | st.binary(max_size=9),
    st.integers(0, 60),
)
def test_any_form_is_read_or_refused(parts, end, cut):
    body, kind = form(*parts, end=end)
    for data in (body, body[cut:], body[:-cut]):
        try:
            found = parse_uploads(data, kind, LIMITS)
        except RequestError as err:
            assert err.status in (400, 413)
        else:
            assert 1 <= len(found) <= 3


@examples(200)
@given(
    st.binary(max_size=100), st.none() | st.text(max_size=60).map("multipart/form-data; boundary=".__add__) | st.text()
)
def test_any_bytes_are_read_or_refused(body, kind):
    try:
        parse_uploads(body, kind, LIMITS)
    except RequestError as err:
        assert err.status in (400, 413, 415)
