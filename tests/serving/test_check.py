"""`raysplit check`: what is shipped is clean, and each fault is named by its path, with what would be right."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from pathlib import Path

import pytest
import ray
import yaml
from ray.serve._private.build_app import build_app

from raysplit.family.bundle import write_family
from raysplit.serving.args import EnsembleArgs
from raysplit.serving.check import check_file
from raysplit.serving.check.config import check_config
from raysplit.serving.check.rayservice import check_rayservice
from raysplit.serving.ensemble.app import build
from raysplit.train.local import train_local
from tests.train.recipes import family_config

SHIPPED = Path(__file__).parents[2] / "serve_configs"
ENSEMBLE = (SHIPPED / "ensemble.yaml").read_text(encoding="utf-8")
BUNDLE, FAMILY = "bundles/mnist5k_vit_n3/bundle", "bundles/mnist5k_vgg11_prune"
APP = "applications[0]"
OTHER = f"""
  - name: other
    route_prefix: /other
    import_path: raysplit.serving.ensemble:build
    args: {{bundle: {BUNDLE}}}
"""


@pytest.fixture(scope="module")
def bundles(tiny_ensemble, tmp_path_factory):
    """Return a folder with the bundles that the shipped configs name, made of digits."""
    place = tmp_path_factory.mktemp("place")
    shutil.copytree(tiny_ensemble / "bundle", place / BUNDLE)
    run = train_local(family_config(), run_dir=str(place / "run"))["run_dir"]
    write_family(run, str(place / FAMILY))
    return place


@pytest.fixture
def place(bundles, tmp_path, monkeypatch):
    """Return a working directory with links to the bundles."""
    (tmp_path / "bundles").symlink_to(bundles / "bundles")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def findings_in(text: str | bytes) -> list[str]:
    """Check a file of that content in the working directory."""
    Path("config.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return [str(finding) for finding in check_file("config.yaml")]


def changed(old: str, new: str, text: str = ENSEMBLE) -> str:
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize("name", ["ensemble.yaml", "split.yaml"])
def test_what_is_shipped_is_clean(name, place):
    path = list(sys.path)
    assert check_file(str(SHIPPED / name)) == []
    assert not ray.is_initialized() and sys.path == path


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
    ("name: raysplit ", "top: 2", f"{APP}.args.top", "is there twice, on lines 21 and 26; only the last counts"),
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
    ("- name: submodel-1", "- name: submodel-0", f"{APP}.deployments[2].name", "has a row already, deployments[1]"),
    ("route_prefix: /", "route_prefix: api", f"{APP}.route_prefix", "must start with '/'. Nearest: /api"),
    ("route_prefix: /", "route_prefix: /api/", f"{APP}.route_prefix", "must not end with '/'. Nearest: /api"),
    ("    import_path", "    port: 80\n    import_path", f"{APP}.port", "it belongs in http_options"),
    ("ensemble:build", "ensemble:Ingress", f"{APP}.import_path", "not an application or a function that builds one"),
    (
        "num_replicas: 1",
        "max_ongoing_requests: 5",
        f"{APP}.deployments[0].max_ongoing_requests",
        "5 is less than args.max_batch 64",
    ),
    ("  request_timeout_s: 30", "", "http_options.request_timeout_s", "is missing"),
    ("request_timeout_s: 30", "request_timeout_s: 0", "http_options.request_timeout_s", "must be more than 0"),
    ("request_timeout_s: 30", "request_timeout_s: 2", f"{APP}.args.branch_timeout_s", "not less than http_options"),
    ("host: 127.0.0.1", "host: 0.0.0.0", f"{APP}.args.access", "http_options.host is 0.0.0.0: other machines can ask"),
    ("  host: 127.0.0.1", "", f"{APP}.args.access", "http_options.host is not set, so it is 0.0.0.0"),
    (BUNDLE, "bundles/none", f"{APP}.args.bundle", "there is no folder"),
    (BUNDLE, FAMILY, f"{APP}.args.bundle", "is of kind 'prune_family', not 'ensemble'"),
    (
        BUNDLE,
        "bundles/mnist5k_vit_n3",
        f"{APP}.args.bundle",
        "no manifest.json. Name the folder that holds one. Nearest",
    ),
    ("groups: {}", "groups: {front: [7]}", f"{APP}.args.groups", "names sub-model 7; the ensemble has 0 to 2"),
    ("groups: {}", "groups: {front: [1, 1]}", f"{APP}.args.groups", "groups name sub-model 1 twice"),
    (
        "groups: {}",
        "groups: {front: [0]}",
        f"{APP}.deployments[1].name",
        "has no deployment 'submodel-0'. Nearest: front.",
    ),
]


@pytest.mark.parametrize(("old", "new", "path", "message"), MISSPELT + WRONG)
def test_one_fault(old, new, path, message, place):
    found = findings_in(changed(old, new))
    assert any(finding.startswith(f"{path}: ") and message in finding for finding in found), found
    assert len(found) == 1


def test_all_faults_are_found_at_once(place):
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
        ("name: other", "name: ensemble", "applications[1].name", "'ensemble' is also that of applications[0]"),
        ("prefix: /other", "prefix: /", "applications[1].route_prefix", "'/' is also that of applications[0]"),
        ("    route_prefix: /other\n", "", "applications[1].route_prefix", "which stands where there is none"),
    ],
)
def test_two_applications(old, new, path, message, place):
    assert findings_in(ENSEMBLE + OTHER) == []
    [found] = findings_in(ENSEMBLE + changed(old, new, OTHER))
    assert found.startswith(f"{path}: ") and message in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing\n---\n", "is empty"),
        ("- a\n- b\n", "must be a mapping of keys, not ['a', 'b']"),
        ("http_options:\n  port: [1\nx: 2\n", "line 3, column 2: "),
        ("a: b: c\n", "line 1, column 5: mapping values are not allowed here"),
        ("a: !env KEY\n", "line 1, column 4: could not determine a constructor for the tag '!env'"),
        ("a: 2001-02-30\n", "day"),
        ("a: \x00", "special characters are not allowed"),
        ("http_options: 3\napplications: []\n", "http_options: Input should be a valid dictionary"),
        ("b: &x [*x]\n", "b: unknown key"),
        (b"a: \xff", "is not text in UTF-8"),
        (ENSEMBLE + "---\n" + ENSEMBLE, "holds 2 documents; Serve takes one"),
        (ENSEMBLE + "---\n", "holds 2 documents; Serve takes one"),
        ("import_path: a:b\n", "import_path: unknown key. It belongs in applications."),
    ],
)
def test_what_is_no_config(text, message, place):
    assert message in "\n".join(findings_in(text))


def test_a_file_that_is_not_there(place):
    assert [str(finding) for finding in check_file("none.yaml")] == ["cannot be read: No such file or directory"]


def test_a_damaged_bundle(place):
    copy = Path(shutil.copytree(place / BUNDLE, place / "copy"))
    (copy / "fusion.safetensors").write_bytes(b"x")
    [found] = findings_in(changed(BUNDLE, "copy", ENSEMBLE))
    assert found.startswith(f"{APP}.args.bundle: fusion.safetensors of bundle 'copy' is damaged")


@pytest.mark.parametrize("location", ["\0", "file://host.example/x", "file:///none"])
def test_paths_that_cannot_be(location, place):
    [found] = findings_in(changed(BUNDLE, json.dumps(location)))
    assert found.startswith(f"{APP}.args.bundle: ") and location[-4:].strip("\0") in found


def test_rows_are_those_of_the_application(place):
    """The names that the check knows are those that the builder gives."""
    [app] = yaml.safe_load(ENSEMBLE)["applications"]
    built = build_app(build(EnsembleArgs.model_validate(app["args"])), name="ensemble")
    assert {one.name for one in built.deployments} == {row["name"] for row in app["deployments"]}


def test_groups_have_their_own_rows(place):
    text = changed("groups: {}", "groups: {front: [0, 1]}", changed("- name: submodel-0", "- name: front"))
    text = changed("      - name: submodel-1\n        num_replicas: 1\n", "      # ", text)
    assert findings_in(text) == []
    for taken in ("Ingress", "submodel-0"):
        found = findings_in(text.replace("front", taken))
        assert any(one.startswith(f"{APP}.args: group '{taken}' is called like another") for one in found), found


def test_a_key_or_anyone_lets_others_ask(place):
    wide = changed("host: 127.0.0.1", "host: 0.0.0.0")
    assert findings_in(changed("api_key_env: null", "api_key_env: KEY", wide)) == []
    assert findings_in(changed("anyone: false", "anyone: true", wide)) == []
    assert findings_in(changed("127.0.0.1", "localhost")) == findings_in(changed("127.0.0.1", "'::1'")) == []


def test_without_http_there_is_nothing_to_time_or_guard(place):
    text = changed("  request_timeout_s: 30", "", changed("  host: 127.0.0.1", ""))
    assert len(findings_in(text)) == 2
    assert findings_in(f"proxy_location: Disabled\n{text}") == []


def test_applications_of_others(place):
    """Modules of the working directory are found; what a builder that is not ours takes is its own affair."""
    (place / "mine.py").write_text(
        "from ray import serve\n@serve.deployment\nclass D: pass\ndef make(args): return D.bind()\napp = D.bind()\n"
    )
    (place / "broken.py").write_text("import no_such_package\n")
    head = "http_options: {request_timeout_s: 5}\napplications:\n"
    assert findings_in(head + "- {import_path: 'mine:make', args: {what: ever}}\n") == []
    assert findings_in(head + "- {import_path: mine.app}\n") == []
    [built] = findings_in(head + "- {import_path: 'mine:app', args: {a: 1}}\n")
    assert built.startswith(f"{APP}.args: 'mine:app' is built already and takes no args")
    [absent] = findings_in(head + "- {import_path: 'mine:mkae'}\n")
    assert absent == f"{APP}.import_path: module 'mine' has no 'mkae'. Nearest: make."
    [broken] = findings_in(head + "- {import_path: 'broken:app'}\n")
    assert "module 'broken' cannot be imported (ModuleNotFoundError: No module named 'no_such_package')" in broken
    elsewhere = "runtime_env: {working_dir: 'https://example.com/code.zip'}"
    assert findings_in(head + f"- {{import_path: 'theirs:app', {elsewhere}}}\n") == []


def test_a_ready_application_needs_its_bundle(place, monkeypatch):
    text = "http_options: {request_timeout_s: 5}\napplications: [{import_path: 'raysplit.serving.ensemble:app'}]\n"
    monkeypatch.delenv("RAYSPLIT_BUNDLE", raising=False)
    [found] = findings_in(text)
    assert found.startswith(f"{APP}.import_path: ") and "RAYSPLIT_BUNDLE" in found


def test_bundles_elsewhere_are_not_opened(place):
    found = findings_in(changed(BUNDLE, "s3://bucket/bundle", changed("submodel-2", "submodel-9")))
    assert found == []
    [strange] = findings_in(changed(BUNDLE, "s3://bucket/bundle", changed("submodel-2", "submodel2")))
    assert strange.startswith(f"{APP}.deployments[3].name: ")


def test_a_split_config(place):
    text = (SHIPPED / "split.yaml").read_text(encoding="utf-8")
    [found] = findings_in(changed(f"family: {FAMILY}", f"family: {BUNDLE}", text))
    assert found.startswith(f"{APP}.args.family: ") and "of kind 'ensemble', not 'prune_family'" in found
    [found] = findings_in(changed("family:", "families:", text))[:1]
    assert found == f"{APP}.args.families: unknown key. Nearest: family, name, limits."
    [found] = findings_in(changed("- name: Server", "- name: Ingress", text))
    assert found == f"{APP}.deployments[0].name: the application has no deployment 'Ingress'. Known: Server."


def places(value, path=()):
    """Yield the path of everything within a value, itself included."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def test_no_value_anywhere_makes_it_crash(place):
    """Kubernetes' part of a manifest and Serve's are walked before anything has vouched for their types."""
    config = yaml.safe_load(changed(BUNDLE, "s3://bucket/bundle"))
    service = yaml.safe_load((SHIPPED / "kuberay-ensemble.yaml").read_text(encoding="utf-8"))
    del service["spec"]["rayClusterConfig"]["workerGroupSpecs"][1:]
    for check, whole in ((check_config, config), (lambda value: check_rayservice(value, ""), service)):
        for path in places(whole):
            for value in (None, 3, "x", [1], {"a": 1}):
                broken = within = {"": copy.deepcopy(whole)}
                for key in ("", *path)[:-1]:
                    within = within[key]
                within[("", *path)[-1]] = value
                if path or isinstance(value, dict):
                    assert all(finding.text for finding in check(broken[""]))
