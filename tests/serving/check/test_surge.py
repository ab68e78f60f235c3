"""Updates that start a replica before they stop one: those for which pods have no room, and those for which they do."""

from __future__ import annotations

import pytest

from tests.serving.check.configs import RAYSERVICE, changed, findings_in

DEPLOYMENTS = "spec.serveConfigV2.applications[0].deployments"
WORKERS = "spec.rayClusterConfig.workerGroupSpecs"
INGRESS, SUBMODEL = "{num_cpus: 1, resources: {ingress: 1}}", "{num_cpus: 1, resources: {submodel-0: 1}}"
INDENT = "\n            "
SURGE = f"max_surge_percent: 100{INDENT}"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Run every test in a folder without bundles."""
    monkeypatch.chdir(tmp_path)


def surging(options: str, changes: tuple[tuple[str, str], ...] = ()) -> str:
    """Return the shipped RayService with a surge of the deployment with these options, and other changes."""
    text = changed(f"ray_actor_options: {options}", f"{SURGE}ray_actor_options: {options}", RAYSERVICE)
    for old, new in changes:
        text = changed(old, new, text)
    return text


@pytest.mark.parametrize(
    ("options", "changes", "path", "message"),
    [
        (
            SUBMODEL,
            (),
            f"{DEPLOYMENTS}[1]",
            "an update starts a new replica of 'submodel-0' before it stops an old one, but submodel-0 limits the pods "
            "that can hold it, of 'submodel-0', to 1: the new one would wait forever. Set 0, or raise maxReplicas of "
            f"{WORKERS}[1]",
        ),
        (INGRESS, (("percent: 100", "percent: 1"),), f"{DEPLOYMENTS}[0]", "but ingress limits the pods that can hold"),
        (
            INGRESS,
            (("num_replicas: 2", "autoscaling_config: {min_replicas: 2, max_replicas: 2}"),),
            f"{DEPLOYMENTS}[0]",
            "'Ingress' before it stops an old one, but ingress limits the pods that can hold it, of 'ingress', to 2",
        ),
        (
            SUBMODEL,
            ((SUBMODEL, "{num_cpus: 2, resources: {submodel-0: 0.5}}"),),
            f"{DEPLOYMENTS}[1]",
            "but num_cpus limits the pods that can hold it, of 'submodel-0', to 1",
        ),
        (
            SUBMODEL,
            (
                (SUBMODEL, "{num_cpus: 1, resources: {submodel-0: 0.5}}"),
                (SURGE, f"{SURGE}max_replicas_per_node: 1{INDENT}"),
            ),
            f"{DEPLOYMENTS}[1]",
            "but max_replicas_per_node limits the pods that can hold it, of 'submodel-0', to 1",
        ),
        (
            SUBMODEL,  # alone it fits, beside another deployment it does not
            ((SUBMODEL, "{num_cpus: 1, resources: {submodel-1: 0.5}}"), ("{submodel-1: 1}", "{submodel-1: 0.5}")),
            f"{DEPLOYMENTS}[1]",
            "with one more, submodel-0, submodel-1 take num_cpus 3, and the pods that can hold them, of 'submodel-1', "
            "have 2: the new one would wait forever. Set 0, or raise replicas of the groups",
        ),
    ],
)
def test_an_update_without_room(options, changes, path, message):
    found = findings_in(surging(options, changes))
    assert len(found) == 1 and found[0].startswith(f"{path}.max_surge_percent: ") and message in found[0], found


def test_on_the_head_alone():
    head = "rayStartParams: {num-cpus: '2', resources: '{\"own\": 1}'}"
    text = surging(SUBMODEL, ((SUBMODEL, "{resources: {own: 1}}"), ('rayStartParams:\n        num-cpus: "0"', head)))
    [found] = findings_in(text)
    assert found.endswith(
        "own limits the pods that can hold it, of 'head', to 1: the new one would wait forever. "
        "Set 0, or raise own there"
    )


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (SUBMODEL, (("percent: 100", "percent: 0"),)),
        (SUBMODEL, ((SUBMODEL, "{num_cpus: 1, resources: {submodel-0: 0.5}}"),)),
        (INGRESS, (("num_replicas: 2", "num_replicas: 1"),)),
        (INGRESS, (("num_replicas: 2", "autoscaling_config: {min_replicas: 1, max_replicas: 2}"),)),
        (INGRESS, (("num_replicas: 2", "autoscaling_config: {max_replicas: 2}"),)),
        (INGRESS, (("num_replicas: 2", "autoscaling_config: {min_replicas: 0, max_replicas: 2}"),)),
        (
            INGRESS,
            (
                ("replicas: 2\n        minReplicas", "replicas: 3\n        minReplicas"),
                ("maxReplicas: 2", "maxReplicas: 3"),
            ),
        ),
        (
            INGRESS,
            (
                ("  rayClusterConfig:\n", "  rayClusterConfig:\n    enableInTreeAutoscaling: true\n"),
                ("maxReplicas: 2", "maxReplicas: 3"),
            ),
        ),
        (
            SUBMODEL,  # on the only pod of another group, which has room for both
            (
                (SUBMODEL, "{num_cpus: 0.5, resources: {submodel-1: 0.25}}"),
                ("{submodel-1: 1}", "{submodel-1: 0.5}"),
            ),
        ),
    ],
)
def test_an_update_with_room(options, changes):
    assert findings_in(surging(options, changes)) == []


def test_what_does_not_fit_as_it_is_is_said_once():
    [found] = findings_in(surging(INGRESS, (("num_replicas: 2", "num_replicas: 3"),)))
    assert "3 replicas do not fit" in found
