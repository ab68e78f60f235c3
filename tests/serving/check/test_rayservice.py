"""RayService manifests: each problem is reported by its path in the manifest or in the Serve config within it."""

from __future__ import annotations

import pytest

from raysplit.serving.check import check_file
from tests.serving.check.configs import RAYSERVICE, SHIPPED, findings_in
from tests.serving.check.configs import changed as change

APP = "spec.serveConfigV2.applications[0]"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Run every test in a folder without bundles."""
    monkeypatch.chdir(tmp_path)


def changed(old: str, new: str) -> str:
    return change(old, new, RAYSERVICE)


def test_the_shipped_file_is_valid():
    assert check_file(str(SHIPPED / "kuberay-ensemble.yaml")) == []


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("route_prefix: /", "route_prefx: /", f"{APP}.route_prefx", "Nearest: route_prefix"),
        ("missing: drop", "mising: drop", f"{APP}.args.mising", "Nearest: missing"),
        ("- name: submodel-0", "- name: submodl-0", f"{APP}.deployments[1].name", "Nearest: submodel-2, submodel-1"),
        (
            "api_key_env: RAYSPLIT_API_KEY",
            "anyone: false",
            f"{APP}.args.access",
            "http_options.host is 0.0.0.0: other machines can connect",
        ),
        (
            "resources: {submodel-1: 1}",
            "resources: {submodel1: 1}",
            f"{APP}.deployments[2].ray_actor_options.resources.submodel1",
            "no group of pods offers 'submodel1'. Nearest: submodel-1",
        ),
        (
            "api_key_env: RAYSPLIT_API_KEY",
            "api_key_env: RAYSPLIT_KEY",
            f"{APP}.args.access.api_key_env",
            "no container sets 'RAYSPLIT_KEY'; set it from a Secret in `env`. Nearest: RAYSPLIT_API_KEY",
        ),
        ("serveConfigV2: |", "serveConfigV2:", "spec.serveConfigV2", "must be text with a Serve config"),
        ("    applications:\n", "    applications: [\n", "spec.serveConfigV2", "line 6, column 3: "),
        (
            "    http_options:\n",
            "    ---\n    ---\n    http_options:\n",
            "spec.serveConfigV2",
            "has 2 documents, not one Serve config",
        ),
    ],
)
def test_one_problem(old, new, path, message):
    found = findings_in(changed(old, new))
    assert len(found) == 1 and found[0].startswith(f"{path}: ") and message in found[0], found


@pytest.mark.parametrize("resources", ["""'"{\\"submodel-0\\": 1}"'""", """'{"submodel-0": 1}'"""])
def test_resources_among_the_start_parameters(resources):
    old = 'resources: {submodel-0: "1"}'
    assert findings_in(changed(old, f"rayStartParams: {{resources: {resources}}}")) == []
    first, second = findings_in(changed(old, "rayStartParams: {resources: 'submodel-0: 1'}"))
    where = "spec.rayClusterConfig.workerGroupSpecs[1].rayStartParams.resources"
    assert first.startswith(f'{where}: is not valid JSON with resources; write \'"{{\\"NAME\\": 1}}"\'')
    assert "no group of pods offers 'submodel-0'" in second


def test_a_config_without_a_document():
    [found, _] = findings_in(changed("serveConfigV2: |\n", "serveConfigV2: ''\n  other: |\n"))
    assert found == "spec.serveConfigV2: has 0 documents, not one Serve config"


def test_several_manifests_in_a_file():
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: raysplit}\n---\n"
    assert findings_in(secret + RAYSERVICE) == []
    [found] = findings_in(secret + changed("missing: drop", "missing: skip"))
    assert found.startswith(f"documents[1].{APP}.args.missing: ")
