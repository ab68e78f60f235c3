"""`raysplit key` and `raysplit join`: keys that are made and revoked, and arguments that are wrong."""

from __future__ import annotations

import stat

import pytest

from raysplit.cli.main import main
from raysplit.errors import RequestError
from raysplit.serving.gateway.keys import Keys

JOIN = ["join", "http://127.0.0.1:9", "--data", "folder:photos", "--key-env", "RAYSPLIT_KEY"]


def test_a_key_is_printed_once_and_good_until_it_is_replaced_or_revoked(tmp_path, capsys):
    file = tmp_path / "keys.txt"
    assert main(["key", str(file), "kitchen"]) == 0
    first = capsys.readouterr().out.strip()
    assert main(["key", str(file), "attic"]) == 0
    other = capsys.readouterr().out.strip()
    file.write_text("# the flat\n" + file.read_text())
    keys = Keys(str(file))
    keys.check("kitchen", first)
    assert len(first) >= 40 and first != other and first not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert main(["key", str(file), "kitchen"]) == 0
    second = capsys.readouterr().out.strip()
    assert keys.refresh()
    keys.check("kitchen", second)
    with pytest.raises(RequestError, match="not that of a device 'kitchen'"):
        keys.check("kitchen", first)
    assert main(["key", str(file), "kitchen", "--revoke"]) == 0
    assert keys.refresh()
    for name, key in (("kitchen", second), ("kitchen", ""), ("cellar", "")):
        with pytest.raises(RequestError):
            keys.check(name, key)
    keys.check("attic", other)
    assert file.read_text().startswith("# the flat\nattic ")


def test_what_is_wrong_with_a_key(tmp_path, capsys):
    file = tmp_path / "keys.txt"
    assert main(["key", str(file), "kitchen", "--revoke"]) == 1
    assert f"'{file}' has no key of 'kitchen'; check the name" in capsys.readouterr().err
    assert main(["key", str(file), "my kitchen"]) == 1
    assert "'my kitchen' is not a device's name" in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize(
    ("key", "more", "text"),
    [
        (None, [], "the environment variable RAYSPLIT_KEY is not set; set it to the device's key"),
        ("k", ["--name", "my kitchen"], "--name 'my kitchen' is not a device's name"),
        ("k", ["--name", "a", "--ca", "ca.pem"], "--ca is for https, but the URL is 'http://127.0.0.1:9'"),
    ],
)
def test_what_is_wrong_with_the_arguments_of_a_device(monkeypatch, capsys, key, more, text):
    monkeypatch.delenv("RAYSPLIT_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("RAYSPLIT_KEY", key)
    assert main([*JOIN, *more]) == 1
    assert text in capsys.readouterr().err
