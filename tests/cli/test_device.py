"""`raysplit device`, against the application on a real port."""

from __future__ import annotations

import json
import threading
import time

import pytest
import uvicorn
from PIL import Image

from raysplit.cli.main import main
from raysplit.config import DataConfig
from raysplit.data import load
from raysplit.serving.args import Access, Limits, SplitArgs
from raysplit.serving.split.routes import SplitRoutes
from raysplit.serving.split.server_halves import ServerHalves


@pytest.fixture(scope="module")
def url(family):
    import os

    os.environ["RAYSPLIT_TEST_KEY"] = "open"
    args = SplitArgs(family="unused", access=Access(api_key_env="RAYSPLIT_TEST_KEY"))
    server = uvicorn.Server(
        uvicorn.Config(SplitRoutes(ServerHalves(family, Limits()), args).app, port=0, log_level="error")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
    del os.environ["RAYSPLIT_TEST_KEY"]


@pytest.fixture
def files(tmp_path):
    names = [tmp_path / f"{index}.png" for index in range(3)]
    for name, image in zip(names, load(DataConfig(name="digits"), "test").images, strict=False):
        Image.fromarray(image[0].numpy()).save(name)
    return [str(name) for name in names]


def test_files_are_classified(family, url, files, capsys):
    words = ["device", family._bundle.location, *files, "--url", url, "--key-env", "RAYSPLIT_TEST_KEY"]
    assert main([*words, "--target-ms", "5000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["images"]
    assert [one["file"] for one in found] == files
    for one in found:
        assert one["level"] == family.levels[0].level and one["within_target"] and one["bytes_up"] > 0
        assert one["seconds"]["total"] == pytest.approx(
            sum(one["seconds"][part] for part in ("device", "link", "server"))
        )
    assert main([*words, "--target-ms", "0.001"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all("(late)" in line for line in lines)


def test_keys(family, url, files, fail):
    words = ["device", family._bundle.location, files[0], "--url", url]
    assert "401" in fail(*words)
    assert "the environment variable NO_SUCH_KEY is not set" in fail(*words, "--key-env", "NO_SUCH_KEY")


def test_certificates(family, files, fail, tmp_path):
    words = ["device", family._bundle.location, files[0], "--url", "https://me:secret@127.0.0.1:9"]
    assert "'none.pem' cannot be read" in fail(*words, "--ca", "none.pem")
    assert "secret" not in fail(*words)
