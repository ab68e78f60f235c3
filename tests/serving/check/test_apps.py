"""Settings of raysplit's own applications: bundles, names of deployments, access."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from ray.serve._private.build_app import build_app

from raysplit.serving.args import EnsembleArgs
from raysplit.serving.ensemble import build
from tests.serving.check.configs import APP, BUNDLE, ENSEMBLE, FAMILY, SPLIT, changed, findings_in


def test_a_damaged_bundle(workdir):
    copy = Path(shutil.copytree(workdir / BUNDLE, workdir / "copy"))
    (copy / "fusion.safetensors").write_bytes(b"x")
    [found] = findings_in(changed(BUNDLE, "copy", ENSEMBLE))
    assert found.startswith(f"{APP}.args.bundle: fusion.safetensors of bundle 'copy' is damaged")


@pytest.mark.parametrize("location", ["\0", "file://host.example/x", "file:///none"])
def test_impossible_paths(location, workdir):
    [found] = findings_in(changed(BUNDLE, json.dumps(location)))
    assert found.startswith(f"{APP}.args.bundle: ") and location[-4:].strip("\0") in found


def test_known_deployments_are_those_that_are_built(workdir):
    [app] = yaml.safe_load(ENSEMBLE)["applications"]
    built = build_app(build(EnsembleArgs.model_validate(app["args"])), name="ensemble")
    assert {one.name for one in built.deployments} == {entry["name"] for entry in app["deployments"]}


def test_groups_are_deployments(workdir):
    text = changed("groups: {}", "groups: {front: [0, 1]}", changed("- name: submodel-0", "- name: front"))
    text = changed(
        "      - name: submodel-1\n        num_replicas: 1\n        max_surge_percent: 100\n", "      # ", text
    )
    assert findings_in(text) == []
    for taken in ("Ingress", "submodel-0"):
        found = findings_in(text.replace("front", taken))
        assert any(one.startswith(f"{APP}.args: group '{taken}' clashes with another") for one in found), found


def test_a_key_or_anyone_allows_remote_clients(workdir):
    wide = changed("host: 127.0.0.1", "host: 0.0.0.0")
    assert findings_in(changed("api_key_env: null", "api_key_env: KEY", wide)) == []
    assert findings_in(changed("anyone: false", "anyone: true", wide)) == []
    assert findings_in(changed("127.0.0.1", "localhost")) == findings_in(changed("127.0.0.1", "'::1'")) == []


def test_remote_bundles_are_not_opened(workdir):
    found = findings_in(changed(BUNDLE, "s3://bucket/bundle", changed("submodel-2", "submodel-9")))
    assert found == []
    [found] = findings_in(changed(BUNDLE, "s3://bucket/bundle", changed("submodel-2", "submodel2")))
    assert found.startswith(f"{APP}.deployments[3].name: ")


@pytest.mark.parametrize(("text", "bundle"), [(ENSEMBLE, f"bundle: {BUNDLE}"), (SPLIT, f"family: {FAMILY}")])
def test_a_bundle_in_the_working_dir_of_a_runtime_env(text, bundle, workdir):
    """The archive is not opened; what is not in it is."""
    brought = "    runtime_env: {working_dir: 'https://example.com/code.zip'}\n    args:"
    text, key = changed("    args:", brought, text), bundle.split()[0]
    assert findings_in(changed(bundle, f"{key} inside/bundle", text)) == []
    for elsewhere in ("/no/such/bundle", "file:///no/such/bundle"):
        [found] = findings_in(changed(bundle, f"{key} {elsewhere}", text))
        assert "there is no folder '/no/such/bundle'" in found
    [found] = findings_in(
        changed(
            "working_dir: 'https://example.com/code.zip'", "env_vars: {A: b}", changed(bundle, f"{key} absent", text)
        )
    )
    assert "there is no folder" in found


def test_a_split_config(workdir):
    [found] = findings_in(changed(f"family: {FAMILY}", f"family: {BUNDLE}", SPLIT))
    assert found.startswith(f"{APP}.args.family: ") and "of kind 'ensemble', not 'family'" in found
    [found] = findings_in(changed("family:", "families:", SPLIT))[:1]
    assert found == f"{APP}.args.families: unknown key. Nearest: family, name, limits."
    [found] = findings_in(changed("- name: Server", "- name: Ingress", SPLIT))
    assert found == f"{APP}.deployments[0].name: the application has no deployment 'Ingress'. Known: Server."
