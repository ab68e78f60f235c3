"""Applications to render manifests of, without a bundle."""

from __future__ import annotations

from raysplit.containers.image_names import ImageNames
from raysplit.containers.parts import Application, Part

BUNDLE_ID = "0123456789abcdef" * 4


def application(count: int = 3, prefix: str = "registry.example.com/raysplit", mib: float = 0.6) -> Application:
    """Return an ensemble of `count` sub-models, each with a deployment of its own."""
    names = ImageNames.of(prefix, BUNDLE_ID)
    groups = [f"submodel-{index}" for index in range(count)]
    parts = [Part(group, group, names.part(group), (index,), mib) for index, group in enumerate(groups)]
    return Application(
        "ensemble", BUNDLE_ID, names, Part("Ingress", "ingress", names.server, (), 0.1), tuple(parts), {}
    )


def on_devices(prefix: str = "localhost/raysplit") -> Application:
    """Return an ensemble of three sub-models on two devices, a deployment for each device."""
    names = ImageNames.of(prefix, BUNDLE_ID)
    held = {"camera": (0, 2), "phone": (1,)}
    parts = [Part(name, name, names.part(name), indices, 0.6, name) for name, indices in held.items()]
    ingress = Part("Ingress", "ingress", names.server, (), 0.1)
    return Application("cameras", BUNDLE_ID, names, ingress, tuple(parts), held)
