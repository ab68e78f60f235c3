"""Triton's load generator, `perf_analyzer`, against the running application.

It is downloaded as docs/serving.md says: the package of that name on PyPI is empty, and tritonclient 2.50 is the last
that has the program. It is linked to libb64 (`apt-get install libb64-0d`) and CUDA's runtime, which is on PyPI.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from tests.listening import listening
from tests.serving.apps import App

PACKAGES = ("tritonclient==2.50.0", "nvidia-cuda-runtime-cu12")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
REQUESTS = 40

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Return a function that runs the program; skips where it cannot be downloaded or does not start."""
    folder = tmp_path_factory.mktemp("perf")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, *PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"perf_analyzer cannot be downloaded: {done.stderr.strip()[-200:]}")
    env = os.environ | {"LD_LIBRARY_PATH": str(folder / "nvidia/cuda_runtime/lib")}

    def run(*arguments):
        command = [folder / "bin/perf_analyzer", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)

    started = run("--version")
    if started.returncode:
        pytest.skip(f"perf_analyzer does not start: {started.stderr.strip()[-200:]}")
    return run


def encoded(content: bytes):
    return base64.b64encode(content).decode()


def with_length(content: bytes):
    """Return bytes as an element of a binary BYTES tensor."""
    return len(content).to_bytes(4, "little") + content


def png(image):
    file = io.BytesIO()
    Image.fromarray(image[0]).save(file, "PNG")
    return file.getvalue()


def describe_input(name, image, tensor_format):
    """Return an image as the program's file of data holds it."""
    if name == "images":
        return {name: {"b64": encoded(image.tobytes())}}
    # As JSON, the text is sent as it stands here.
    return {name: [encoded(png(image))] if tensor_format == "json" else {"b64": encoded(with_length(png(image)))}}


def load(program, app, folder, data, *options):
    """Return what the program said about a load of requests with `data`, and its report."""
    (folder / "data.json").write_text(json.dumps(data))
    report = folder / "report.csv"
    with listening(app.asgi) as url:
        done = program(
            *("-m", app.args.name, "-u", url.removeprefix("http://"), "--input-data", folder / "data.json"),
            *("--concurrency-range", "2", "--request-count", str(REQUESTS), "-f", report, *options),
        )
    return done, list(csv.DictReader(report.open())) if report.exists() else []


@pytest.mark.parametrize("tensor_format", ["binary", "json"])
@pytest.mark.parametrize("name", ["images", "files"])
def test_it_measures_throughput_and_latency(tiny_ensemble, program, tmp_path, name, tensor_format):
    app, batch = App(str(tiny_ensemble / "bundle")), 2
    data = {"data": [describe_input(name, image, tensor_format) for image in IMAGES]}
    formats = ("--input-tensor-format", tensor_format, "--output-tensor-format", tensor_format)
    done, rows = load(program, app, tmp_path, data, "-b", str(batch), *formats)
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = rows
    assert row["Concurrency"] == "2"
    p50, p99 = (float(row[f"p{percent} latency"]) / 1e6 for percent in (50, 99))
    assert 0 < p50 <= p99
    # At most two requests are under way, each with `batch` images; a factor of two for latencies unlike the median.
    assert 0 < float(row["Inferences/Second"]) <= 2 * 2 * batch / p50
    recent = TestClient(app.asgi, client=("127.0.0.1", 50000)).get("/v1/recent").json()
    assert recent["requests"] >= REQUESTS and recent["failed"] == recent["degraded"] == 0


@pytest.mark.parametrize("right", [True, False])
def test_it_finds_the_answers_that_it_expects(tiny_ensemble, program, tmp_path, monkeypatch, right):
    monkeypatch.setenv("KEY_FOR_TEST", "sesame")
    # One image at a time, so that sums are in the same order.
    single = {"limits": {"images": 1}, "max_batch": 1, "access": {"api_key_env": "KEY_FOR_TEST"}}
    app = App(str(tiny_ensemble / "bundle"), **single)
    expected = []
    for image in IMAGES:
        [row] = app.ensemble.predict(torch.from_numpy(image[None])).numpy()
        label = app.ensemble.manifest.classes[row.argmax() if right else row.argmin()]
        expected.append(
            {
                "probabilities": {"b64": encoded(row.astype("<f4").tobytes())},
                "labels": {"b64": encoded(with_length(label.encode()))},
            }
        )
    data = {"data": [describe_input("images", image, "binary") for image in IMAGES], "validation_data": expected}
    options = ("-x", app.ensemble.id[:12], "-H", "X-API-Key:sesame")
    done, rows = load(program, app, tmp_path, data, *options)
    assert (done.returncode == 0) is right, done.stdout + done.stderr
    assert len(rows) == right and ("doesn't match expected" in done.stderr) is not right
