"""What is found in the config of a gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.check.configs import APP, SHIPPED, changed, findings_in

GATEWAY = (SHIPPED / "gateway.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("keys: keys.txt", "key: keys.txt", f"{APP}.args.key: unknown key. Nearest: keys."),
        ("devices: 1000", "devices: 0", f"{APP}.args.limits.devices: "),
        ("lease_s: 60", "lease_s: 5", f"{APP}.args.lease_s: 5: a job is heard of every 10 s"),
        ("name: gateway", "name: gate", f"{APP}.name: is 'gate', and jobs look for the gateway under 'gateway'"),
        ("num_replicas: 1", "num_replicas: 2", f"{APP}.deployments[0].num_replicas: a gateway holds"),
        (
            "- name: Gateway ",
            "- name: Gatway ",
            f"{APP}.deployments[0].name: the application has no deployment 'Gatway'",
        ),
        ("host: 127.0.0.1", "host: 0.0.0.0", "http_options.ssl_certfile: is not set, and http_options.host is 0.0.0.0"),
        ("keys: keys.txt", "keys: none.txt", f"{APP}.args.keys: 'none.txt' cannot be read (No such file or directory)"),
    ],
)
def test_what_is_wrong_with_a_gateway(workdir, old, new, found):
    Path("keys.txt").write_text(f"kitchen {'0' * 64}\n")
    assert not findings_in(GATEWAY)
    assert any(one.startswith(found) for one in findings_in(changed(old, new, GATEWAY)))


def test_keys_that_are_none(workdir):
    Path("keys.txt").write_text("kitchen swordfish\n")
    (found,) = findings_in(GATEWAY)
    assert found == f"{APP}.args.keys: keys.txt, line 1: not a name and a SHA-256; write it by `raysplit key FILE NAME`"
