"""Any ensemble on any devices becomes manifests that pass the check."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from raysplit.containers.image_names import ImageNames
from raysplit.containers.kustomize import render_kustomize
from raysplit.containers.parts import Application, Part
from raysplit.containers.pods import list_pods
from raysplit.containers.policies import render_disruption_budgets, render_network_policies, render_redis
from raysplit.containers.rayservice import render_rayservice
from raysplit.containers.serve_config import Replicas, ServingOptions
from raysplit.serving.check.documents import read_documents
from raysplit.serving.check.manifests import check_manifests
from tests.containers.apps import BUNDLE_ID
from tests.examples import examples

DEVICES = st.from_regex(r"[a-z]([a-z0-9-]{0,12}[a-z0-9])?", fullmatch=True).filter(lambda name: name != "ingress")
PREFIXES = st.sampled_from(["localhost/raysplit", "registry.example.com:5000/team/shop", "raysplit"])
REPLICAS = st.one_of(
    st.builds(Replicas, st.integers(1, 4)),
    st.builds(lambda least, more: Replicas(least, least + more), st.integers(1, 3), st.integers(1, 4)),
)


@st.composite
def applications(draw: st.DrawFn) -> tuple[Application, ServingOptions]:
    """An ensemble of 1 to 9 sub-models, each in a deployment of its own or on devices, with numbers of replicas."""
    count = draw(st.integers(1, 9))
    names = ImageNames.of(draw(PREFIXES), BUNDLE_ID)
    mib = draw(st.lists(st.floats(0.01, 900), min_size=count, max_size=count))
    if draw(st.booleans()):
        placed = draw(st.lists(DEVICES, min_size=count, max_size=count))
        held = {name: tuple(i for i, device in enumerate(placed) if device == name) for name in placed}
        parts = [
            Part(name, name, names.part(name), indices, sum(mib[i] for i in indices), name)
            for name, indices in held.items()
        ]
    else:
        held = {}
        parts = [Part(f"submodel-{i}", f"submodel-{i}", names.submodel(i), (i,), mib[i]) for i in range(count)]
    ingress = Part("Ingress", "ingress", names.server, (), 0.1)
    app = Application(draw(DEVICES), BUNDLE_ID, names, ingress, tuple(parts), held)
    replicas = {part.group: draw(REPLICAS) for part in app.parts}
    return app, ServingOptions(replicas, pin=draw(st.sampled_from(("resource", "label"))))


@examples(60, deadline=None)
@given(applications())
def test_the_manifests_pass_the_check(drawn):
    app, options = drawn
    texts = [
        render_rayservice(app, options),
        render_network_policies(app.name, app.ingress.group),
        render_disruption_budgets(app),
    ]
    documents = read_documents("---\n".join([*texts, render_redis(app)])).documents
    assert len(documents) == 8
    assert check_manifests(documents) == []
    pods = list_pods(documents[0].value)
    assert len(pods) == 1 + sum(options.of(part).least for part in app.parts)


@examples(60, deadline=None)
@given(applications())
def test_all_files_are_yaml(drawn):
    files = render_kustomize(drawn[0])
    for name, text in files.items():
        assert list(yaml.safe_load_all(text)), name
        assert all(len(line) < 200 for line in text.splitlines())
