"""Thousands of malformed requests: each is refused with a 4xx and a reason, nothing crashes, memory does not grow."""

from __future__ import annotations

import gc
import gzip
import io
import json
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from raysplit.device.halves import DeviceHalves
from raysplit.wire.split_api import FAMILY_HEADER, LEVEL_HEADER, level_to_header
from tests.examples import examples
from tests.serving.apps import App
from tests.serving.split.messages import make_client


def many(count: int) -> settings:
    """Return settings for `count` examples, the same ones in every run."""
    return examples(
        count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
INFER = "/v2/models/raysplit/infer"


def file(kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(IMAGE).save(out, kind)
    return out.getvalue()


FILES = {kind: file(kind) for kind in ("PNG", "JPEG")}
TENSOR = {"name": "images", "datatype": "UINT8", "shape": [1, 1, 8, 8], "data": IMAGE.ravel().tolist()}
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(-300, 300), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


@pytest.fixture(scope="module")
def client(tiny_ensemble):
    with App(str(tiny_ensemble / "bundle"), limits={"body_mib": 1, "pixels": 10_000}).client() as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def memory(client):
    """Neither the memory of the process nor its peak may grow by more than Python's own slack."""
    for body in FILES.values():
        assert client.post("/v1/predict", content=body, headers={"Content-Type": "image/png"}).status_code == 200
    before, peak = resident_mib(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resident_mib() - before < 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200 * 1024


def resident_mib() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def refused(answer) -> None:
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    if answer.headers.get("content-type") == "application/json":
        found = answer.json()
        assert len(found.get("error") or found.get("detail")) > 8, found
    else:
        pytest.fail(f"not JSON: {answer.text[:200]}")


def survived(answer) -> None:
    """Allow for a request that is valid by chance."""
    if answer.status_code != 200:
        refused(answer)


@many(1000)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_files_that_are_cut_short(client, kind, data):
    whole = FILES[kind]
    # The last twenty bytes of a PNG are checksums and an empty chunk: all pixels are there without them.
    end = data.draw(st.integers(0, len(whole) - (21 if kind == "PNG" else 1)))
    refused(client.post("/v1/predict", content=whole[:end], headers={"Content-Type": f"image/{kind.lower()}"}))


@many(1000)
@given(st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1))
def test_files_with_bytes_changed(client, kind, changes):
    body = bytearray(FILES[kind])
    for position, value in changes:
        body[position % len(body)] = value
    survived(client.post("/v1/predict", content=bytes(body), headers={"Content-Type": f"image/{kind.lower()}"}))


@many(1000)
@given(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1), st.sampled_from([0, 2, 3, 4, 6]), st.binary(max_size=30))
def test_huge_images(client, width, height, colours, packed):
    if width * height <= 10_000:
        width += 10_000

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000) + packed)
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    refused(client.post("/v1/predict", content=body, headers={"Content-Type": "image/png"}))


@many(1000)
@given(st.data())
def test_tensors_with_invalid_fields(client, data):
    tensor = dict(TENSOR)
    key = data.draw(st.sampled_from(sorted(tensor)))
    if data.draw(st.booleans()):
        del tensor[key]
    else:
        tensor[key] = data.draw(JUNK.filter(lambda value: value != TENSOR[key]))
    body = json.dumps({"inputs": [tensor]}).encode()
    refused(client.post(INFER, content=body, headers={"Content-Type": "application/json"}))


@many(600)
@given(
    st.one_of(st.binary(max_size=200), st.recursive(JUNK, lambda inner: st.lists(inner, max_size=3)).map(json.dumps))
)
def test_bodies_of_anything_else(client, body):
    refused(client.post(INFER, content=body, headers={"Content-Type": "application/json"}))


@many(400)
@given(st.integers(-(2**40), 2**40), st.integers(-10, 2000), st.binary(max_size=100))
def test_binary_tensors_of_another_length(client, header, size, rest):
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 1, 8, 8], "parameters": {"binary_data_size": size}}
    body = json.dumps({"inputs": [tensor]}).encode() + rest
    sent = {"Inference-Header-Content-Length": str(header), "Content-Type": "application/octet-stream"}
    refused(client.post(INFER, content=body, headers=sent))


@pytest.mark.parametrize("times", [1, 2, 3])
def test_decompression_bombs(client, times):
    body = bytes(64 * 2**20)
    for _ in range(times):
        body = gzip.compress(body, 9)
    sent = {"Content-Encoding": ", ".join(["gzip"] * times), "Content-Type": "image/png"}
    answer = client.post("/v1/predict", content=body, headers=sent)
    refused(answer)
    assert answer.status_code == 413


@many(200)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200), st.integers(0, 100_000))
def test_headers_of_anything_else(client, text, length):
    for name in ("Content-Type", "Content-Encoding", "Inference-Header-Content-Length", "Content-Length"):
        sent = {"Content-Type": "image/png", name: text.strip() + "x" + "9" * length}
        path = INFER if name.startswith("Inf") else "/v1/predict"
        answer = client.post(path, content=FILES["PNG"], headers=sent)
        refused(answer)


@pytest.fixture(scope="module")
def split(family):
    """Return a client of a family's application, a message for it, and its headers."""
    level = family.levels[0].level
    message = DeviceHalves(family).encode(torch.zeros(2, *family.manifest.shape, dtype=torch.uint8), level)
    with make_client(family, body_mib=1) as client:
        yield client, message, {LEVEL_HEADER: level_to_header(level), FAMILY_HEADER: family.id}


@many(800)
@given(st.data())
def test_messages_that_are_damaged_or_lie(split, data):
    client, message, sent = split
    whole, head = message.to_bytes(), message.header_bytes
    kind = data.draw(st.sampled_from(["cut", "changed", "lies", "junk"]))
    if kind == "cut":
        body = whole[: data.draw(st.integers(0, len(whole) - 1))]
    elif kind == "junk":
        body = data.draw(st.binary(max_size=300))
    else:
        changed = bytearray(whole)
        changed[data.draw(st.integers(0, head - 5 if kind == "lies" else len(whole) - 1))] ^= data.draw(
            st.integers(1, 255)
        )
        if kind == "lies":  # a lie has a valid checksum
            changed[head - 4 : head] = struct.pack("<I", zlib.crc32(changed[head:], zlib.crc32(changed[: head - 4])))
        body = bytes(changed)
    # Two fields do not affect the values: the number of the batch and the sender's seconds.
    (survived if kind == "lies" else refused)(client.post("/v1/split", content=body, headers=sent))
