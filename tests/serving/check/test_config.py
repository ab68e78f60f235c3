"""Serve configs: each problem is reported by its path, with what would be right."""

from __future__ import annotations

import copy

import pytest
import yaml

from raysplit.serving.check.config import check_config
from raysplit.serving.check.documents import Document
from raysplit.serving.check.manifests import check_manifests
from tests.serving.check.configs import APP, BUNDLE, ENSEMBLE, FAMILY, OTHER, RAYSERVICE, changed, findings_in

MISSPELT = [
    ("applications:", "http_option: {}\napplications:", "http_option", "Nearest: http_options"),
    ("  port: 8000", "  prot: 8000", "http_options.prot", "Nearest: port"),
    ("applications:", "grpc_options: {prot: 9000}\napplications:", "grpc_options.prot", "Nearest: port"),
    ("applications:", "logging_config: {log_levle: INFO}\napplications:", "logging_config.log_levle", "log_level"),
    ("applications:", "request_timeout_s: 3\napplications:", "request_timeout_s", "It belongs in http_options"),
    ("    route_prefix", "    route_prefx", f"{APP}.route_prefx", "Nearest: route_prefix"),
    ("    args:", "    logging_config: {encodin: JSON}\n    args:", f"{APP}.logging_config.encodin", "encoding"),
    ("    args:", "    runtime_env: {env_var: {A: b}}\n    args:", f"{APP}.runtime_env.env_var", "env_vars"),
    ("num_replicas: 1", "num_replica: 1", f"{APP}.deployments[0].num_replica", "Nearest: num_replicas"),
    ("num_replicas: 1", "num_cpus: 1", f"{APP}.deployments[0].num_cpus", "It belongs in ray_actor_options"),
    ("{num_cpus:", "{num_cpu:", f"{APP}.deployments[0].ray_actor_options.num_cpu", "Nearest: num_cpus"),
    (
        "num_replicas: 1",
        "autoscaling_config: {max_replcas: 2}",
        f"{APP}.deployments[0].autoscaling_config.max_replcas",
        "Nearest: max_replicas",
    ),
    ("branch_timeout_s:", "branch_timeout:", f"{APP}.args.branch_timeout", "Nearest: branch_timeout_s"),
    ("pixels:", "pixel:", f"{APP}.args.limits.pixel", "Nearest: pixels"),
    ("api_key_env:", "api_key:", f"{APP}.args.access.api_key", "Nearest: api_key_env"),
    ("- name: submodel-2", "- name: submodel-3", f"{APP}.deployments[3].name", "Nearest: submodel-2"),
    ("- name: Ingress", "- name: ingress", f"{APP}.deployments[0].name", "Nearest: Ingress"),
    (
        "ensemble:build",
        "ensembel:build",
        f"{APP}.import_path",
        "no module 'raysplit.serving.ensembel'. Nearest: ensemble",
    ),
    ("path: raysplit", "path: raysplt", f"{APP}.import_path", "no module 'raysplt'. Nearest: raysplit"),
    ("ensemble:build", "ensemble:biuld", f"{APP}.import_path", "has no 'biuld'. Nearest: build"),
    ("ensemble:build", "ensemble.biuld", f"{APP}.import_path", "has no 'biuld'. Nearest: build"),
]
WRONG = [
    (
        "  port: 8000",
        "  port: http",
        "http_options.port",
        "valid integer, unable to parse string as an integer (got 'http')",
    ),
    ("applications:", "proxy_location: Head\napplications:", "proxy_location", "'HeadOnly'"),
    ("applications:", "logging_config: {log_level: LOUD}\napplications:", "logging_config.log_level", "LOUD"),
    ("missing: drop", "missing: skip", f"{APP}.args.missing", "'wait', 'drop' or 'fail' (got 'skip')"),
    ("max_batch: 64", "max_batch: 0", f"{APP}.args.max_batch", "greater than or equal to 1 (got 0)"),
    ("max_batch: 64", "max_batch: 8", f"{APP}.args.limits", "limits.images 64 is more than max_batch 8"),
    (
        "name: raysplit ",
        "top: 2",
        f"{APP}.args.top",
        "is set twice, on lines 21 and 26; only the last one takes effect",
    ),
    ("num_replicas: 1", "num_replicas: 0", f"{APP}.deployments[0].num_replicas", "greater than 0"),
    ("num_replicas: 1", "num_replicas: two", f"{APP}.deployments[0].num_replicas", 'int or "auto"'),
    ("num_cpus: 0.4", "num_cpus: -1", f"{APP}.deployments[0].ray_actor_options.num_cpus", "(got -1)"),
    (
        "num_replicas: 1",
        "num_replicas: 1\n        autoscaling_config: {max_replicas: 2}",
        f"{APP}.deployments[0].num_replicas",
        "not allowed when autoscaling_config is provided",
    ),
    (
        "num_replicas: 1",
        "autoscaling_config: {min_replicas: 3, max_replicas: 2}",
        f"{APP}.deployments[0].autoscaling_config.max_replicas",
        "greater than or equal to min_replicas",
    ),
    ("      - name: Ingress", "      - Ingress\n      - name: Ingress", f"{APP}.deployments[0]", "must be a mapping"),
    (
        "- name: submodel-1",
        "- name: submodel-0",
        f"{APP}.deployments[2].name",
        "is already configured in deployments[1]",
    ),
    ("route_prefix: /", "route_prefix: api", f"{APP}.route_prefix", "must start with '/'. Nearest: /api"),
    ("route_prefix: /", "route_prefix: /api/", f"{APP}.route_prefix", "must not end with '/'. Nearest: /api"),
    ("    import_path", "    port: 80\n    import_path", f"{APP}.port", "set it in http_options"),
    (
        "ensemble:build",
        "ensemble.application:Ingress",
        f"{APP}.import_path",
        "not an application or a function that builds one",
    ),
    (
        "num_replicas: 1",
        "max_ongoing_requests: 5",
        f"{APP}.deployments[0].max_ongoing_requests",
        "5 is less than args.max_batch 64",
    ),
    ("  request_timeout_s: 30", "", "http_options.request_timeout_s", "is missing"),
    ("request_timeout_s: 30", "request_timeout_s: 0", "http_options.request_timeout_s", "must be more than 0"),
    ("request_timeout_s: 30", "request_timeout_s: 2", f"{APP}.args.branch_timeout_s", "not less than http_options"),
    (
        "host: 127.0.0.1",
        "host: 0.0.0.0",
        f"{APP}.args.access",
        "http_options.host is 0.0.0.0: other machines can connect",
    ),
    ("  host: 127.0.0.1", "", f"{APP}.args.access", "http_options.host is not set and thus 0.0.0.0"),
    (BUNDLE, "bundles/none", f"{APP}.args.bundle", "there is no folder"),
    (BUNDLE, FAMILY, f"{APP}.args.bundle", "is of kind 'family', not 'ensemble'"),
    (
        BUNDLE,
        "bundles/mnist5k_vit_n3",
        f"{APP}.args.bundle",
        "no manifest.json. Name the folder that holds one. Nearest",
    ),
    (
        "groups: {}",
        "groups: {front: [7]}",
        f"{APP}.args.groups",
        "lists sub-model 7; the ensemble has sub-models 0 to 2",
    ),
    ("groups: {}", "groups: {front: [1, 1]}", f"{APP}.args.groups", "groups list sub-model 1 twice"),
    (
        "groups: {}",
        "groups: {front: [0]}",
        f"{APP}.deployments[1].name",
        "has no deployment 'submodel-0'. Nearest: front.",
    ),
]


@pytest.mark.parametrize(("old", "new", "path", "message"), MISSPELT + WRONG)
def test_one_problem(old, new, path, message, workdir):
    found = findings_in(changed(old, new))
    assert any(finding.startswith(f"{path}: ") and message in finding for finding in found), found
    assert len(found) == 1


def test_all_problems_are_found_at_once(workdir):
    text = changed("prefix: /", "prefix: api", changed("{num_cpus", "{num_cpu", changed("top: 3", "top: 0")))
    assert [finding.split(": ")[0] for finding in findings_in(changed("  port", "  prot", text))] == [
        "http_options.prot",
        f"{APP}.deployments[0].ray_actor_options.num_cpu",
        f"{APP}.route_prefix",
        f"{APP}.args.top",
    ]


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("name: other", "name: ensemble", "applications[1].name", "'ensemble' is already taken by applications[0]"),
        ("prefix: /other", "prefix: /", "applications[1].route_prefix", "'/' is already taken by applications[0]"),
        ("    route_prefix: /other\n", "", "applications[1].route_prefix", "'/', the default, is already taken"),
    ],
)
def test_two_applications(old, new, path, message, workdir):
    assert findings_in(ENSEMBLE + OTHER) == []
    [found] = findings_in(ENSEMBLE + changed(old, new, OTHER))
    assert found.startswith(f"{path}: ") and message in found


def test_without_http_timeouts_and_access_do_not_matter(workdir):
    text = changed("  request_timeout_s: 30", "", changed("  host: 127.0.0.1", ""))
    assert len(findings_in(text)) == 2
    assert findings_in(f"proxy_location: Disabled\n{text}") == []


def paths(value, path=()):
    """Yield the path of everything within a value, itself included."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


@pytest.mark.parametrize(
    "value", [None, "x", *(pytest.param(value, marks=pytest.mark.slow) for value in (3, [1], {"a": 1}))]
)
def test_no_value_anywhere_makes_it_crash(workdir, value):
    """Both parts of a manifest, Kubernetes' and Serve's, are read before their types have been validated."""
    config = yaml.safe_load(changed(BUNDLE, "s3://bucket/bundle"))
    service = yaml.safe_load(RAYSERVICE)
    del service["spec"]["rayClusterConfig"]["workerGroupSpecs"][1:]
    of_manifest = lambda value: check_manifests([Document("", value)])  # noqa: E731
    for check, whole in ((check_config, config), (of_manifest, service)):
        for path in paths(whole):
            broken = within = {"": copy.deepcopy(whole)}
            for key in ("", *path)[:-1]:
                within = within[key]
            within[("", *path)[-1]] = value
            if path or isinstance(value, dict):
                assert all(finding.message for finding in check(broken[""]))
