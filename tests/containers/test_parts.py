from __future__ import annotations

from types import SimpleNamespace

import pytest

from raysplit.containers.parts import plan_application
from raysplit.errors import ConfigError


def ensemble(*devices: str | None) -> SimpleNamespace:
    """Return what is asked of an ensemble with a sub-model on each of these devices."""
    entries = [SimpleNamespace(file=f"submodels/{i}.safetensors", device=one) for i, one in enumerate(devices)]
    sizes = {entry.file: SimpleNamespace(bytes=2**20) for entry in entries}
    files = {"fusion.safetensors": SimpleNamespace(bytes=2**19), **sizes}
    return SimpleNamespace(id="ab" * 32, location="here", files=files, manifest=SimpleNamespace(submodels=entries))


def test_a_part_for_each_sub_model():
    app = plan_application(ensemble("camera", None), "localhost/raysplit")
    assert [part.deployment for part in app.parts] == ["Ingress", "submodel-0", "submodel-1"]
    assert [part.device for part in app.submodels] == ["camera", None] and app.groups == {}
    assert app.ingress.image == app.names.server and app.ingress.weights_mib == 0.5


def test_a_part_for_each_device():
    app = plan_application(ensemble("camera", "phone", "camera"), "localhost/raysplit", per="device")
    assert app.groups == {"camera": (0, 2), "phone": (1,)}
    assert [(part.submodels, part.weights_mib) for part in app.submodels] == [((0, 2), 2.0), ((1,), 1.0)]
    assert app.submodels[0].image == "localhost/raysplit-camera:2.60.0-abababababab"


@pytest.mark.parametrize(
    ("devices", "name", "text"),
    [
        (
            ("camera", None),
            "a",
            "sub-model 1 of 'here' is on no device; build it with `devices`, or use --per submodel",
        ),
        (("Camera 1",), "a", "device 'Camera 1' is no name for a group of pods; use lower-case letters"),
        (("ingress",), "a", "device 'ingress' is no name for a group of pods"),
        (("camera",), "A b", "'A b' is no name for Kubernetes; use lower-case letters"),
    ],
)
def test_errors(devices, name, text):
    with pytest.raises(ConfigError) as err:
        plan_application(ensemble(*devices), "localhost/raysplit", name, per="device")
    assert str(err.value).startswith(text)
