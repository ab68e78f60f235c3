"""What parts of the package load when they are used: one fresh interpreter uses one after the other, without Ray."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from raysplit.ensemble.bundle import load_ensemble

HEAVY = "timm torchvision torch._dynamo triton sympy pandas pyarrow.parquet matplotlib fastapi starlette"
"""What what serves need not load: most take longer, or more memory, than all that it loads besides torch."""
PROGRAMS = {
    "configs": ("import raysplit.config", "torch"),
    "settings and checks of serving": (
        "import raysplit.serving.args, raysplit.serving.check\n"
        "import raysplit.serving.serial_executor, raysplit.serving.http.authenticator, raysplit.serving.oip.schema",
        "torch",
    ),
    "the client of a device": ("from raysplit.device import DeviceClient", f"{HEAVY} PIL"),
    "a replica of sub-models": (
        "from raysplit.serving.ensemble.submodels import SubmodelDeployment\n"
        "SubmodelDeployment(bundle, bundle_id, [0])",
        f"{HEAVY} PIL",
    ),
    "a device": (
        "from raysplit.device import DeviceClient\nDeviceClient(family, 'http://127.0.0.1:9', target_s=1)",
        "timm torchvision pandas pyarrow.parquet matplotlib fastapi starlette",
    ),
    "the layer": ("import raysplit.compress.layer", "timm torchvision"),
    "reports": ("import raysplit.report", "matplotlib.pyplot"),
    "requests": (
        "import raysplit.serving.http.images, raysplit.serving.http.body\n"
        "import raysplit.serving.oip.protocol, raysplit.serving.oip.request, raysplit.serving.oip.response",
        "",
    ),
    "networks": (
        "from raysplit.config import ModelConfig\n"
        "from raysplit.ensemble.prunable.base import prunable_network\n"
        "from raysplit.models import build\n"
        "vit = {'patch': 8, 'width': 24, 'depth': 1, 'heads': 3}\n"
        "for name, args, kind in (('vit', vit, 'vit'), ('vgg11', {'width': 0.125}, 'cnn')):\n"
        "    model = build(ModelConfig(name=name, args=args), 2, (3, 32, 32))\n"
        "    assert prunable_network(model, (3, 32, 32)).kind == kind",
        "spikingjelly",
    ),
    "predictions": (
        "from raysplit.cli.main import main\nassert main(['predict', bundle, image]) in (None, 0)",
        "spikingjelly",
    ),
}
"""What is used, and what must not be loaded by then. Later programs may load what earlier ones must not."""

SCRIPT = """
import contextlib, io, json, sys, traceback

class NoRay:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "ray":
            wanted.append(name)
            raise ImportError("there is no Ray")

sys.meta_path.insert(0, NoRay())
programs, names = json.loads(sys.argv[1])
found = {}
for name, (code, heavy) in programs.items():
    wanted, fault = [], ""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, names)
    except BaseException:
        fault = traceback.format_exc()
    found[name] = [fault, sorted({*wanted, *set(heavy.split()) & sys.modules.keys()})]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def used(family, tiny_ensemble, tmp_path_factory) -> dict[str, tuple[str, list[str]]]:
    """Return the fault of each program, and the modules that it must not load and has loaded."""
    from PIL import Image

    image = tmp_path_factory.mktemp("image") / "digit.png"
    Image.new("L", (8, 8)).save(image)
    bundle = str(tiny_ensemble / "bundle")
    names = {"family": family._bundle.location, "bundle": bundle, "image": str(image)}
    names["bundle_id"] = load_ensemble(bundle).id
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([PROGRAMS, names])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_loads_what_it_needs(used, name):
    fault, loaded = used[name]
    assert not fault, fault
    assert not loaded
